"""Published experiments, and the figures that show them; needs the extra ``study``."""
