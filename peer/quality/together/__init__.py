"""What peers find out together, by exchanges alone: no image leaves its machine."""
