"""FeGAN (Guerraoui et al. 2020): its figures and tables."""
