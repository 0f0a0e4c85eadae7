"""Names of torch that xai needs and that torch does not make public; a test says if one is gone or has changed."""

from torch import nn

# base of all batch and instance normalisations, lazy ones too; there is no public name for it
NormBase = nn.modules.batchnorm._NormBase
