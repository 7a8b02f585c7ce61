"""Files of weights: safe loading, atomic writing, publishing."""
