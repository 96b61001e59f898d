"""*Decentralized GAN Training through Diffusion Learning* (Wang, Pavan, Sayed 2022)."""
