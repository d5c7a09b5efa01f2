"""The numbers of the recipe.

Source: Roten, D., J. Block, D. Crawl, J. Lee, and I. Altintas (2022), Machine Learning for Improved
Post-fire Debris Flow Likelihoods Prediction, IEEE International Conference on Big Data,
doi:10.1109/BigData55660.2022.10020574, and the notebook of its authors, which has what the paper
leaves out: data_preparation/extract_contributing_region.ipynb of
https://github.com/gojandrooo/PostFireDebrisFlow
"""

WINDOW_KM = 6.0
"""From a site with a reported area of 1 km2 to each side of its window; it grows with the root."""
MARGIN = 1.5
"""The part that is read and reprojected reaches so many times as far."""
EARTH_RADIUS_M = 6_371_000.0
"""Of the sphere on which meters become degrees, of latitude and longitude alike."""
SNAP_SHARE = 0.9
"""The outlet is the nearest cell that more than this share of the reported area drains through."""
MOST_TOO_LARGE = 3.0
"""A catchment that is more than so many times too large is delineated again."""
LONGEST_SNAP_M = 200.0
"""So is one whose outlet is farther from the site; and the second one has to be nearer."""
SECOND_SHARES = (0.5, 1.6)
"""The second outlet is the nearest cell through which a share between these drains."""
CONTOUR = 0.5
"""Level of the contour around the catchment's cells, which are 1 among cells that are 0."""

WARNING = (
    "recipe: roten2022 reproduces the catchments of a paper of 2022 with the known defects of its "
    "method (config/README.md): use them for nothing else"
)
"""What everyone who sees results has to know."""
