"""How faithfully maps show what the model does. N images, H x W = P pixels, F fractions of them."""
