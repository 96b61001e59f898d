"""What this machine allows a process: how many descriptors, and who may take them."""
