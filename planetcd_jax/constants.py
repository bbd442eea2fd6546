"""Numbers that come from elsewhere, each with its unit and its origin."""

# Input normalisation of torchvision's ImageNet models, RGB, for images in [0, 1].
# Source: torchvision model card of VGG16_Weights.IMAGENET1K_V1 (the shipped weights expect it).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Mean of the original Oxford VGG-16 (BGR, 0..255), given here as RGB in [0, 1]; that network divides by nothing, so
# its standard deviation is 1/255 in these units.
# Source: Simonyan & Zisserman 2014, section 2.1, as distributed with the Caffe and Keras models (103.939, 116.779,
# 123.68 for B, G, R).
OXFORD_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
OXFORD_STD = (1 / 255, 1 / 255, 1 / 255)

# Input normalisation of the authors' public script, each channel, for images in [0, 1].
AUTHORS_MEAN = (0.5, 0.5, 0.5)
AUTHORS_STD = (0.15, 0.15, 0.15)

# The bound at which the authors' script clips features, and the threshold it hard-codes. The threshold belongs to its
# own score (vgg16_bn, mean over 256 channels) and is kept for comparison only: nothing here decides with it unless
# asked to.
AUTHORS_FEATURE_CLIP = 1.0
AUTHORS_TAU = 0.2860

# Largest shift of a pseudo-unchanged patch, pixels in each axis. Saha & Zhu, section III-D.
PAPER_MAX_SHIFT = 10

# Share of the pseudo-unchanged scores that lies at or below tau. Saha & Zhu, section III-D ("exclude the top 5
# percentile").
PAPER_QUANTILE = 0.95

# Standard deviation of the Gaussian noise of a pseudo-unchanged patch, for images in [0, 1]. The paper does not state
# it. About 5 grey levels of 255: a little above the noise of an 8-bit orbital image after a contrast stretch.
DEFAULT_NOISE_SIGMA = 0.02

# Batch normalisation epsilon of torchvision's vgg16_bn (torch.nn.BatchNorm2d default).
BATCH_NORM_EPSILON = 1e-5

# Added to the spatial variance of a feature channel before its square root, when features are standardised. The
# authors' script has no guard and yields NaN for a constant channel.
STANDARDIZE_EPSILON = 1e-8

# Largest misregistration that is looked for, pixels in each axis: "misregistered by as many as 40 pixels" (Saha & Zhu,
# section IV-A, LROC).
LARGEST_MISALIGNMENT = 40

# Robust standard deviations at which a pair's differences are cut before its null is drawn from them. Chosen on the
# development split of scripts/evaluate.py.
RESIDUAL_CLIP = 8.0

# Share of pairs with the larger null score below which a level of scores is that of changed pairs; see
# `thresholds.counted_nulls`. Half of the unchanged pairs have it, and a fifth, at most, of pairs of the development
# split with changes drawn in.
LEAST_NULL_WINS = 0.24

# Pseudo-unchanged tiles, of up to 16 windows each, from which a scene's threshold is found unless asked otherwise.
NULL_DRAWS = 64

# Convolutions of VGG-16 (Simonyan & Zisserman 2014, table 1, column D), in order.
VGG16_LAYERS = tuple(f"conv{block}_{i}" for block, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1))

# Layers of VGG-16 that stand for those of DCVA: 64, 128 and 256 features on grids of 1, 1/2 and 1/4.
DCVA_LAYERS = ("conv1_2", "conv2_2", "conv3_2")

# Words that settings are chosen from.
ACTIVATIONS = ("pre", "post")
PRECISIONS = ("float32", "tf32", "bfloat16")
PRESET_NAMES = ("paper", "authors_code", "robust")
BACKBONE_NAMES = ("vgg16", "vgg16_bn")
SCORE_NAMES = ("pooled", "registered", "rcva")
