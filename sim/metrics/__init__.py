"""What is measured: how far peers are apart, what theory allows, how good their samples are."""
