// The page: sixteen pictures from a seed, a button for others, two sliders that walk through z.
"use strict";

const SHOWN = 16, COLUMNS = 4, LARGEST_SEED = 1000000;
const net = load(JSON.parse(document.getElementById("model").textContent));
const [channels, height, width] = net.shape;
const canvas = document.getElementById("pictures");
const context = canvas.getContext("2d");
const seedField = document.getElementById("seed");
const sliders = [document.getElementById("first"), document.getElementById("second")];
canvas.width = COLUMNS * (width + 1) - 1;
canvas.height = Math.ceil(SHOWN / COLUMNS) * (height + 1) - 1;
canvas.style.width = `${canvas.width * Math.max(1, Math.floor(576 / canvas.width))}px`;

let turn = 0; // of drawings: a new one ends the one before it

function paint(place, values) {
  const image = context.createImageData(width, height), plane = width * height;
  for (let i = 0; i < plane; i++)
    for (let c = 0; c < 4; c++)
      image.data[4 * i + c] = c === 3 ? 255
        : Math.round((values[(channels === 1 ? 0 : c) * plane + i] + 1) * 127.5);
  const column = place % COLUMNS, row = Math.floor(place / COLUMNS);
  context.putImageData(image, column * (width + 1), row * (height + 1));
}

// One picture at a time, so that the page answers in between.
function draw() {
  const mine = ++turn, seed = Number(seedField.value) >>> 0;
  const walk = sliders.map((slider) => Number(slider.value));
  const all = normal(seed, SHOWN * net.z);
  document.body.dataset.drawn = "0";
  const next = (place) => {
    if (mine !== turn || place === SHOWN) return;
    const z = all.slice(place * net.z, (place + 1) * net.z)
      .map((v, i) => v + walk[0] * net.directions[0][i] + walk[1] * net.directions[1][i]);
    paint(place, generate(net, z));
    document.body.dataset.drawn = String(place + 1);
    setTimeout(next, 0, place + 1);
  };
  next(0);
}

function again() {
  seedField.value = String(Math.floor(Math.random() * LARGEST_SEED));
  draw();
}

document.getElementById("again").addEventListener("click", again);
seedField.addEventListener("change", draw);
for (const slider of sliders) slider.addEventListener("input", draw);
draw();
