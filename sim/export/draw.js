// Carries out a generator's operations. No page, no network: numbers in, numbers out.
"use strict";

// A tensor: base64 of little-endian float32, or of float16, whose bits are spread out here.
function unpack(text, half) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  if (!half) return new Float32Array(bytes.buffer);
  const bits = new Uint16Array(bytes.buffer);
  const numbers = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const exponent = (bits[i] >> 10) & 31, fraction = bits[i] & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    numbers[i] = bits[i] >> 15 ? -size : size;
  }
  return numbers;
}

// A model as the page holds it -> the same with its tensors as arrays.
function load(model) {
  return { ...model, tensors: model.tensors.map(({ values, half }) => unpack(values, half)) };
}

const each = (x, f) => x.map(f);

const OPERATIONS = {
  relu: (step, [x]) => each(x, (v) => (v > 0 ? v : 0)),
  leaky: (step, [x]) => each(x, (v) => (v > 0 ? v : v * step.slope)),
  tanh: (step, [x]) => each(x, Math.tanh),
  sigmoid: (step, [x]) => each(x, (v) => 1 / (1 + Math.exp(-v))),

  add(step, [a, b]) {
    if (b === undefined) return each(a, (v) => v + step.number);
    const run = a.length / b.length; // values of a that share one of b: 1, or a channel's pixels
    return each(a, (v, i) => v + b[Math.floor(i / run)]);
  },

  mul(step, [a, b]) {
    if (b === undefined) return each(a, (v) => v * step.number);
    const run = a.length / b.length;
    return each(a, (v, i) => v * b[Math.floor(i / run)]);
  },

  // batch norm in evaluation mode
  affine(step, [x], tensors) {
    const scale = tensors[step.scale], shift = tensors[step.shift];
    const run = x.length / scale.length;
    return each(x, (v, i) => {
      const channel = Math.floor(i / run);
      return v * scale[channel] + shift[channel];
    });
  },

  linear(step, [x], tensors, size) {
    const weight = tensors[step.weight], bias = tensors[step.bias];
    const y = new Float32Array(size);
    for (let o = 0; o < size; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0, at = o * x.length; i < x.length; i++) sum += weight[at + i] * x[i];
      y[o] = sum;
    }
    return y;
  },

  // nearest neighbour, by a whole factor
  repeat(step, [x], tensors, size) {
    const [channels, height, width] = step.shape, f = step.factor, wide = width * f;
    const y = new Float32Array(size);
    for (let at = 0, c = 0; c < channels; c++)
      for (let row = 0; row < height * f; row++) {
        const from = (c * height + Math.floor(row / f)) * width;
        for (let column = 0; column < wide; column++) y[at++] = x[from + Math.floor(column / f)];
      }
    return y;
  },

  conv: (step, [x], tensors, size) => convolve(step, x, tensors, size, false),
  transposed: (step, [x], tensors, size) => convolve(step, x, tensors, size, true),
};

// Both convolutions join small[c, r, q] and large[d, r * stride - padding + i, q * stride - padding + j]
// by weight[c, d, i, j]: one sums into the small map (conv), the other into the large (transposed).
function convolve(step, x, tensors, size, transposed) {
  const weight = tensors[step.weight], bias = tensors[step.bias];
  const { kernel, stride, padding } = step;
  const [small, large] = transposed ? [step.shape, step.to] : [step.to, step.shape];
  const y = new Float64Array(size);
  const plane = step.to[1] * step.to[2];
  if (bias) for (let i = 0; i < size; i++) y[i] = bias[Math.floor(i / plane)];
  for (let c = 0; c < small[0]; c++)
    for (let d = 0; d < large[0]; d++)
      for (let i = 0; i < kernel; i++)
        for (let j = 0; j < kernel; j++) {
          const w = weight[((c * large[0] + d) * kernel + i) * kernel + j];
          for (let r = 0; r < small[1]; r++) {
            const row = r * stride - padding + i;
            if (row < 0 || row >= large[1]) continue;
            const here = (c * small[1] + r) * small[2];
            const there = (d * large[1] + row) * large[2] + j - padding;
            for (let q = 0; q < small[2]; q++) {
              const column = q * stride + j - padding;
              if (column < 0 || column >= large[2]) continue;
              if (transposed) y[there + q * stride] += w * x[here + q];
              else y[here + q] += w * x[there + q * stride];
            }
          }
        }
  return Float32Array.from(y);
}

// z (an array of numbers) -> the image's values in [-1, 1], channel by channel, row by row.
function generate(net, z) {
  const values = [Float32Array.from(z)];
  for (const step of net.steps) {
    const taken = step.in.map((k) => values[k]);
    values[step.out] = OPERATIONS[step.op](step, taken, net.tensors, net.sizes[step.out]);
  }
  return values[net.result];
}

// Standard normal numbers that follow from a seed: mulberry32, then Box and Muller.
function normal(seed, count) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}
