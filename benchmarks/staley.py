"""The site table of Staley et al. (2016, USGS OFR 2016-1106): 716 sites of 34 fires."""

TABLE = "ofr20161106_appx-1.xlsx"
"""In the folder ``staley2016`` of the shared data."""
SHEET = "Appendix1_ModelData"
SITES = {
    "path": TABLE,
    "sheet": SHEET,
    "utm": {"datum": "NAD83", "hemisphere": "north"},
    "columns": {
        "site_id": "Fire_SegID",
        "x": "UTM_X",
        "y": "UTM_Y",
        "utm_zone": "UTM_Zone",
        "area": "ContributingArea_km2",
    },
}
"""The section ``sites`` of a configuration."""
COMPARE = [
    # The share of a basin that burned at moderate or high severity and has slopes of 23 degrees or
    # more: a part of all that is so steep.
    {
        "column": "PropHM23",
        "feature": "share_steeper_23deg",
        "relation": "at_most",
        "tolerance": 0.02,
    },
    {"column": "ContributingArea_km2", "feature": "area_km2"},
]
"""The section ``compare`` of a configuration."""
