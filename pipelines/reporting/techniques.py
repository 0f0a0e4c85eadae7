"""What each technique is for, by the six questions of Hohman et al. 2019, Visual Analytics in Deep Learning, TVCG."""

from dataclasses import dataclass

QUESTIONS = ("why", "who", "what", "how", "when", "where")
DEVELOPERS = "model developers"
BOTH = "model developers and users; to be read with care by others"


@dataclass(frozen=True)
class Technique:
    """The six answers, the source, and what is known to go wrong."""

    name: str
    source: str
    why: str
    who: str
    what: str
    how: str
    when: str
    where: str
    limits: str


TECHNIQUES = {
    "saliency": Technique(
        name="Saliency",
        source="Simonyan, Vedaldi, Zisserman 2014, arXiv 1312.6034",
        why="interpretability: which pixels the class score reacts to most",
        who=DEVELOPERS,
        what="the gradient of one class's logit at one image, its largest channel, without a sign",
        how="attribution: one pass forward, one back; drawn as a heatmap over the image",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Says how the score would change, not what it is made of; noisy; blind where the score is saturated.",
    ),
    "smooth_grad": Technique(
        name="SmoothGrad",
        source="Smilkov et al. 2017, arXiv 1706.03825",
        why="interpretability: saliency without the gradient's own noise",
        who=DEVELOPERS,
        what="the mean gradient over 50 copies of the image with noise of a tenth of its range, without a sign",
        how="attribution: 50 passes forward and back; a heatmap",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Looks smoother, which need not mean more faithful; depends on how much noise is added.",
    ),
    "integrated_gradients": Technique(
        name="Integrated gradients",
        source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
        why="interpretability: which pixels the score's rise over a neutral image is made of",
        who=BOTH,
        what="signed shares, in logits, of the score's difference between the mean colour and the image",
        how="attribution: gradients along a straight path, at first 50 steps, doubled until the shares add up",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Depends on the baseline: pixels of the mean colour get nothing, however much they matter.",
    ),
    "expected_gradients": Technique(
        name="Expected gradients",
        source="Erion et al. 2021, arXiv 1906.10670; what shap's GradientExplainer estimates",
        why="interpretability: as integrated gradients, without one baseline that would have to be neutral",
        who=BOTH,
        what="signed shares, in logits, of the score's difference from the mean score of training images",
        how="attribution: 200 gradients between the image and training images drawn at random",
        when="after training, at any stored epoch",
        where="any differentiable image classifier with training images at hand",
        limits="An estimate: shares add up only up to sampling error; the images drawn are part of the result.",
    ),
    "grad_cam": Technique(
        name="Grad-CAM",
        source="Selvaraju et al. 2017, arXiv 1610.02391",
        why="interpretability: where the late features that speak for the class are",
        who=BOTH,
        what="the last feature maps, weighted by their mean gradient; only what speaks for the class",
        how="attribution: one pass forward and one back through the head, then enlarged to the image's size",
        when="after training, at any stored epoch",
        where="convolutional networks",
        limits="As coarse as the layer it looks at; zero everywhere where no feature map speaks for the class.",
    ),
    "occlusion": Technique(
        name="Occlusion",
        source="Zeiler and Fergus 2014, arXiv 1311.2901",
        why="interpretability: what the score loses when a place cannot be seen",
        who="model developers, users and non-experts: it says what was done and what came of it",
        what="signed falls of the logit, in logits, for each covered window",
        how="attribution without gradients: windows of a sixth of the side, half overlapping, take the mean colour",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="As coarse as its windows; blind to evidence that is there twice; covered images are unlike any seen.",
    ),
    "shap": Technique(
        name="SHAP",
        source="Owen 1977, doi 10.1007/978-3-642-45494-3_7; Lundberg and Lee 2017, arXiv 1705.07874",
        why="interpretability: a fair share of the score for every region, for and against",
        who=BOTH,
        what="signed Owen values, in logits, of rectangles against the blurred image, of predicted and true class",
        how="attribution without gradients: 500 partly blurred images; rectangles are halved where the score changes",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="Not pixel by pixel: 500 passes give some dozens of regions; depends on the blur that hides a region.",
    ),
    "ice": Technique(
        name="ICE with TCAV",
        source="concepts: Zhang et al. 2021, arXiv 2006.15417; TCAV: Kim et al. 2018, arXiv 1711.11279",
        why="interpretability and debugging: which recurring patterns the model has learned, and for which classes",
        who=BOTH,
        what="non-negative directions in a layer's activations (aggregated information), tested for each class",
        how="matrix factorization, example images, and how often more of a concept raises a class's logit (TCAV)",
        when="after training, at any stored epoch",
        where="networks with a ReLU layer of feature maps",
        limits="Concepts are as good as the answer the model keeps when it sees nothing else; names are for people.",
    ),
    "instanceflow": Technique(
        name="InstanceFlow",
        source="Pühringer, Hinterreiter, Streit 2020, arXiv 2007.11353",
        why="debugging and improving: which images are learned, lost and mixed up, and since when",
        who=DEVELOPERS,
        what="the predicted class of every image after every epoch (instance-based analysis over time)",
        how="flows between classes from epoch to epoch, with the images behind each (study flow)",
        when="during and after training",
        where="any classifier whose epochs are logged",
        limits="Epochs are snapshots: what happens between them is not seen; a move is not its cause.",
    ),
    "compare": Technique(
        name="Comparing methods",
        source="Petsiuk 2018, arXiv 1806.07421; Rong 2022, arXiv 2202.00449 (ROAD); Adebayo 2018, arXiv 1810.03292",
        why="comparing and selecting: which explanations follow the model, and which would look alike without it",
        who=DEVELOPERS,
        what="maps of all methods on the same images, beside random maps and an edge detector",
        how="pixels are put in or taken out by their rank, weights are made random; paired bootstrap intervals",
        when="after training, on maps that are there",
        where="any image classifier with maps of two methods or more",
        limits="Altered images are unlike any the model has seen; a faithful map need not be easy to understand.",
    ),
}  # fmt: skip


def called(method: str) -> str:
    """A method's name within a sentence; the key of one that has no card."""
    name = TECHNIQUES[method].name if method in TECHNIQUES else method
    return name if any(letter.isupper() for letter in name[1:]) else name.lower()
