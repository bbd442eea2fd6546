"""The ranges that the simulated sets draw from, each number with its origin.

They were fixed from the literature before any change score was computed on the result, and are not to be tuned to a
score. A pair (low, high) is a uniform draw, unless it says otherwise. "Assumed" marks what no source was found for.

Sources, by short name:
    McEwen07: McEwen et al. 2007, HiRISE, J. Geophys. Res. 112, E05S02.
    McEwen11: McEwen et al. 2011, Seasonal flows on warm Martian slopes, Science 333, 740.
    Stillman20: Stillman et al. 2020, RSL in Garni crater, Icarus 335, 113420.
    Malin07: Malin et al. 2007, Context Camera, J. Geophys. Res. 112, E05S04.
    Daubar13: Daubar et al. 2013, The current martian cratering rate, Icarus 225, 506.
    Robinson10: Robinson et al. 2010, LROC instrument overview, Space Sci. Rev. 150, 81.
    Speyerer16: Speyerer et al. 2016, Lunar impact cratering from temporal imaging, Nature 538, 215; LROC post 943.
    Clegg14: Clegg et al. 2014, Effects of rocket exhaust on lunar soil reflectance, Icarus 227, 176.
    Pike77: Pike 1977, Size-dependence in the shape of fresh impact craters on the Moon.
    Gault70: Gault 1970, Saturation and equilibrium conditions, Radio Science 5, 273.
    Rosenburg11: Rosenburg et al. 2011, Global surface slopes and roughness of the Moon, J. Geophys. Res. 116, E02001.
    McEwen91: McEwen 1991, Photometric functions, Icarus 92, 298.
    Saha: the paper that this package follows, section IV-A.
"""

import dataclasses

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ImpactRanges:
    """A fresh impact and its blast zone.

    Attributes:
        diameter_px: Crater diameter, pixels, drawn from a power law.
        diameter_exponent: Of the cumulative size distribution.
        zone_radius_px: Blast zone radius, pixels.
        outer: Relative change of brightness of the blast zone.
        inner: The same next to the crater.
        outer_opposite: Share of impacts whose blast zone has the opposite sign.
        inner_opposite: Share whose inner zone has the opposite sign.
        cluster: Share of impacts that are clusters.
    """

    diameter_px: Range
    diameter_exponent: float
    zone_radius_px: Range
    outer: Range
    inner: Range
    outer_opposite: float
    inner_opposite: float
    cluster: float


@dataclasses.dataclass(frozen=True)
class StreakRanges:
    """Dark streaks on a slope.

    Attributes:
        count: New or vanished streaks in a changed pair, whole numbers, both ends included.
        standing: Streaks that stay the same, in any pair.
        width_px, length_px: Pixels.
        contrast: Share of the brightness that a streak takes away.
        old_length: Length on the earlier state over that on the later one; 0 is a streak that was not there.
        fading: Share of the changed pairs in which streaks fade instead of grow.
    """

    count: tuple[int, int]
    standing: tuple[int, int]
    width_px: Range
    length_px: Range
    contrast: Range
    old_length: Range
    fading: float


@dataclasses.dataclass(frozen=True)
class CraftRanges:
    """A landed craft: size and height in pixels, brightness over the ground's, and the ground its engine brightened."""

    size_px: Range
    height_px: Range
    brightness: Range
    halo_radius_px: Range
    halo: Range


@dataclasses.dataclass(frozen=True)
class SceneRanges:
    """One simulated set: its size, its ground, its light, its camera and what may change.

    Attributes:
        name: Data set that it stands in for.
        height, width: Patch size, pixels.
        pixel_m: Ground size of a pixel, metres.
        hurst: Hurst exponent of the relief.
        rms_slope_deg: RMS slope from pixel to pixel, degrees, without craters.
        tilt_deg: Slope of the ground as a whole, degrees.
        tilt_from_sun_deg: Largest angle between the downhill direction and the sun's azimuth, degrees.
        crater_px: Diameters of the standing craters, pixels; power law.
        crater_exponent: Of their cumulative size distribution.
        crater_density: Number over that of geometric saturation, N(> D) = 1.54 D^-2 per area; log-uniform.
        crater_depth: Depth over diameter: fresh at the upper end, worn down at the lower.
        limb: L of the lunar-Lambert law.
        albedo_rms: Relative RMS of the albedo pattern.
        albedo_hurst: Its Hurst exponent.
        albedo_stretch: How much longer it is along the slope than across.
        sun_elevation_deg, sun_azimuth_deg: On the first date, degrees.
        sun_elevation_change_deg, sun_azimuth_change_deg: Second date minus first, degrees.
        haze: Share of the light that comes from the air.
        psf_px: Standard deviation of the point spread function, pixels.
        snr: Signal-to-noise ratio of a pixel before any stretch.
        level: Mean brightness of the displayed image.
        spread: Standard deviation of the displayed image.
        gain_change, offset_change: Of the second date's display against the first's.
        max_shift_px: Largest misregistration in each axis, pixels.
        shift_power: Shift = max * u^power with u uniform: 1 is uniform, more makes large shifts rare.
        impact, streaks, craft: What may change; None where the set has none of it.
        craft_share: Share of the changed pairs that show a craft.
    """

    name: str
    height: int
    width: int
    pixel_m: float
    hurst: Range
    rms_slope_deg: Range
    tilt_deg: Range
    tilt_from_sun_deg: float
    crater_px: Range
    crater_exponent: float
    crater_density: Range
    crater_depth: Range
    limb: Range
    albedo_rms: Range
    albedo_hurst: Range
    albedo_stretch: Range
    sun_elevation_deg: Range
    sun_azimuth_deg: Range
    sun_elevation_change_deg: Range
    sun_azimuth_change_deg: Range
    haze: Range
    psf_px: Range
    snr: Range
    level: Range
    spread: Range
    gain_change: Range
    offset_change: Range
    max_shift_px: float
    shift_power: float
    impact: ImpactRanges | None = None
    streaks: StreakRanges | None = None
    craft: CraftRanges | None = None
    craft_share: float = 0.0


HIRISE_RSL = SceneRanges(
    name="hirise_rsl",
    height=100,  # Saha: 100 x 100 pixels
    width=100,
    pixel_m=0.3,  # Saha: about 30 cm per pixel
    hurst=(0.5, 0.8),  # assumed: debris-covered slope, rougher than plains
    rms_slope_deg=(3.0, 9.0),  # assumed, at a baseline of 0.3 m
    tilt_deg=(25.0, 40.0),  # McEwen11: RSL on slopes of 25 to 40 degrees
    tilt_from_sun_deg=70.0,  # McEwen11: they favour warm, sunward slopes
    crater_px=(4.0, 25.0),  # 1 to 8 m
    crater_exponent=2.0,  # Gault70: equilibrium
    crater_density=(2e-4, 4e-3),  # assumed: steep slopes renew their surface and hold few craters
    crater_depth=(0.04, 0.15),  # Pike77: fresh 0.2; smaller ones are worn
    limb=(0.4, 0.7),  # McEwen91, Mars at phase angles of 40 to 70 degrees
    albedo_rms=(0.02, 0.07),  # assumed
    albedo_hurst=(0.0, 0.5),
    albedo_stretch=(1.5, 6.0),  # assumed: talus and granular flows draw the pattern out downhill
    sun_elevation_deg=(30.0, 55.0),  # McEwen07: MRO passes at about 3 p.m. local time
    sun_azimuth_deg=(240.0, 300.0),  # sun in the west in the afternoon, north up
    sun_elevation_change_deg=(-5.0, 5.0),  # the two Garni dates lie six weeks apart (orbits 29213 and 29780)
    sun_azimuth_change_deg=(-10.0, 10.0),
    haze=(0.1, 0.35),  # dust optical depth of 0.3 to 1 at Valles Marineris
    psf_px=(0.5, 0.8),  # McEwen07: about two pixels full width at half maximum
    snr=(60.0, 150.0),  # McEwen07: 100:1 and better in RED
    level=(0.35, 0.6),
    spread=(0.05, 0.15),  # assumed: as stretched 8-bit HiRISE browse images look
    gain_change=(0.85, 1.15),
    offset_change=(-0.06, 0.06),
    max_shift_px=2.0,  # Saha: the two sets with misalignment are the other two; the images are orthorectified
    shift_power=1.0,
    streaks=StreakRanges(
        count=(1, 5),  # assumed: RSL come in groups, some metres apart
        standing=(0, 3),
        width_px=(1.7, 16.0),  # McEwen11, Stillman20: 0.5 to 5 m
        length_px=(25.0, 160.0),  # Stillman20: tens of metres and more; a patch spans 30 m
        contrast=(0.08, 0.35),  # McEwen11: up to 40 % darker than their surroundings
        old_length=(0.0, 0.4),  # Stillman20: they lengthen step by step
        fading=0.4,  # Stillman20: lengthening and fading occur side by side
    ),
)

CTX_IMPACTS = ImpactRanges(
    diameter_px=(0.65, 6.0),  # Daubar13: from 3.9 m; the largest new ones are some tens of metres
    diameter_exponent=2.45,  # Daubar13
    zone_radius_px=(6.0, 40.0),  # 36 to 240 m: HiRISE releases tell of halos of 200 m (cluster) to over 1 km (8 m)
    outer=(-0.35, -0.1),  # dark where dust was blown off; depth assumed
    inner=(-0.35, -0.05),
    outer_opposite=0.1,  # assumed: a few light-toned zones
    inner_opposite=0.3,  # assumed: dual-toned zones
    cluster=0.55,  # Daubar13: more than half are clusters
)

CTX = SceneRanges(
    name="ctx",
    height=150,  # Saha: 150 x 150 pixels
    width=150,
    pixel_m=6.0,  # Saha, Malin07
    hurst=(0.6, 0.95),  # Mars plains at 10 to 100 m
    rms_slope_deg=(1.0, 5.0),  # dusty plains where new impacts are found, at a baseline of 6 m
    tilt_deg=(0.0, 4.0),
    tilt_from_sun_deg=180.0,
    crater_px=(3.5, 45.0),  # 20 to 270 m
    crater_exponent=2.45,  # Daubar13
    crater_density=(1e-3, 2e-2),  # Gault70: equilibrium is 0.01 to 0.1; dusty Tharsis is younger
    crater_depth=(0.04, 0.2),  # Pike77 for the fresh end
    limb=(0.4, 0.7),  # McEwen91
    albedo_rms=(0.01, 0.05),  # dust mantle evens the albedo out
    albedo_hurst=(0.3, 0.9),
    albedo_stretch=(1.0, 4.0),  # wind streaks
    sun_elevation_deg=(30.0, 55.0),  # Malin07: 3 p.m. orbit
    sun_azimuth_deg=(240.0, 300.0),
    sun_elevation_change_deg=(-12.0, 12.0),  # the dates lie years apart, at any season
    sun_azimuth_change_deg=(-30.0, 30.0),
    haze=(0.1, 0.4),
    psf_px=(0.6, 1.0),  # Malin07
    snr=(50.0, 120.0),  # Malin07: at least 20 at the darkest; new impacts are found in bright dust
    level=(0.35, 0.6),
    spread=(0.05, 0.15),
    gain_change=(0.8, 1.25),
    offset_change=(-0.08, 0.08),
    max_shift_px=12.0,  # Saha: some pairs with significant misalignment
    shift_power=2.0,
    impact=CTX_IMPACTS,
)

LROC = SceneRanges(
    name="lroc",
    height=100,  # Saha: 100 x 100 pixels
    width=100,
    pixel_m=1.0,  # Robinson10: 0.5 m at 50 km and more from higher orbits
    hurst=(0.7, 0.95),  # Rosenburg11
    rms_slope_deg=(2.0, 6.0),  # Rosenburg11: mare about 2, highlands 7.5 degrees at 17 m, craters included
    tilt_deg=(0.0, 6.0),
    tilt_from_sun_deg=180.0,
    crater_px=(3.0, 40.0),
    crater_exponent=2.0,  # Gault70: equilibrium at these sizes
    crater_density=(1e-2, 6e-2),  # Gault70: 0.01 to 0.1
    crater_depth=(0.03, 0.2),  # Pike77 for the fresh end; most are worn
    limb=(0.7, 1.0),  # McEwen91, Moon at phase angles of 20 to 60 degrees
    albedo_rms=(0.005, 0.03),  # mature regolith is even
    albedo_hurst=(0.3, 0.8),
    albedo_stretch=(1.0, 1.5),
    sun_elevation_deg=(30.0, 60.0),  # LROC temporal pairs: incidence well below 70 degrees
    sun_azimuth_deg=(0.0, 360.0),
    sun_elevation_change_deg=(-3.0, 3.0),  # Speyerer16: pairs of similar lighting are chosen
    sun_azimuth_change_deg=(-8.0, 8.0),
    haze=(0.0, 0.0),
    psf_px=(0.5, 0.8),  # Robinson10
    snr=(40.0, 100.0),  # Robinson10: above 40 for most scenes
    level=(0.35, 0.55),
    spread=(0.08, 0.16),
    gain_change=(0.85, 1.15),
    offset_change=(-0.05, 0.05),
    max_shift_px=40.0,  # Saha: by as many as 40 pixels
    shift_power=1.0,
    impact=ImpactRanges(
        diameter_px=(4.0, 20.0),  # LROC post 943: new craters of several to 43 m; a patch spans 100 m
        diameter_exponent=2.45,
        zone_radius_px=(14.0, 45.0),  # Speyerer16: reflectance zones many times wider than the crater
        outer=(-0.2, -0.06),  # proximal low-reflectance zone
        inner=(0.1, 0.5),  # proximal high-reflectance zone
        outer_opposite=0.4,  # some sites are bright all over
        inner_opposite=0.1,
        cluster=0.0,  # no air, no break-up
    ),
    craft=CraftRanges(
        size_px=(2.0, 5.0),  # landers are 2 to 5 m wide
        height_px=(2.0, 5.0),
        brightness=(1.8, 3.0),
        halo_radius_px=(10.0, 35.0),  # Clegg14: brightened by descent engines over tens of metres
        halo=(0.04, 0.2),  # Clegg14: brighter than the ground by some per cent to some tens
    ),
    craft_share=0.2,  # Saha: meteorite impacts and one spacecraft landing among five
)
