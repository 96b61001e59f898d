"""Do the papers hold? A module for every figure or table, each with a number and a verdict.

A module says the claim in the paper's words, shortened; what is smaller here, and why that is
fair; the experiments; the measure; the rule of the verdict, which is written before the run; and
the plot. ``python -m reproductions diffusion-fig6`` runs it.
"""
