"""How far maps say what the model does. N images, H x W = P pixels, S shares."""
