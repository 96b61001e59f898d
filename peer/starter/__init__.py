"""From a folder of pictures to an experiment file: what is there, what fits it, what is written."""
