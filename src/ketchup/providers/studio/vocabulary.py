"""The words that belong to no setting and no subject: colours, numbers, times, weathers, seasons.

Settings and subjects bring their own words. English, German, Dutch and Japanese, as the guides.
"""

from __future__ import annotations

from typing import Final

from ketchup.providers.studio.colour import Colour
from ketchup.providers.studio.light import Season, Time, Weather
from ketchup.providers.studio.wishes import Edit, Style

_COLOURS: Final[dict[Colour, str]] = {
    "#cf2f35": "red rot rood rode 赤い 赤 赤色",
    "#a3162f": "crimson scarlet ruby burgundy maroon dunkelrot bordeaux",
    "#ee7a2c": "orange oranje オレンジ オレンジ色",
    "#f3a32a": "amber",
    "#d8a534": "gold golden gouden goud 金色 金",
    "#b4622f": "copper bronze terracotta rust kupfer",
    "#f2cb3a": "yellow gelb geel gele 黄色い 黄色",
    "#e0bd72": "blonde blond blonder",
    "#c9692c": "ginger",
    "#3c9a57": "green grün groen groene 緑の 緑 緑色",
    "#12855f": "emerald jade smaragd",
    "#7f8b3c": "olive khaki",
    "#8ed6b6": "mint",
    "#158a90": "teal petrol",
    "#30b6b0": "turquoise türkis aqua",
    "#3bb9da": "cyan 水色",
    "#2f6cc9": "blue blau blauw blauwe 青い 青 青色",
    "#1b2d63": "navy dunkelblau marineblau donkerblauw",
    "#4a9be6": "azure hellblau lichtblauw",
    "#463b9e": "indigo",
    "#7b42b3": "purple lila paars paarse 紫 紫色",
    "#8c58d2": "violet violett",
    "#b19fda": "lavender lilac lavendel",
    "#ef86b2": "pink rosa roze ピンク ピンクの",
    "#d0338c": "magenta fuchsia",
    "#e06f8b": "rose",
    "#f0846e": "coral salmon",
    "#7f5236": "brown chocolate braun bruin bruine 茶色い 茶色",
    "#d9c4a0": "beige tan sand",
    "#f2e5c8": "cream ivory creme",
    "#f6f5f1": "white weiß weiss wit witte 白い 白 白色",
    "#22232c": "black schwarz zwart zwarte 黒い 黒 黒色",
    "#868c96": "grey gray grau grijs grijze 灰色",
    "#b9c0c9": "silver silbern zilveren 銀色",
}

_GERMAN_ENDINGS: Final = ("", "e", "er", "es", "en", "em")

COLOURS: Final[dict[str, Colour]] = {
    word + ending: colour
    for colour, words in _COLOURS.items()
    for word in words.split()
    for ending in (_GERMAN_ENDINGS if word.isalpha() and word.islower() else ("",))
}
"""Each colour word, with the endings that German and Dutch adjectives take."""

SHADES: Final[dict[str, tuple[Colour, float]]] = {
    "dark": ("#000000", 0.4),
    "deep": ("#000000", 0.25),
    "dunkel": ("#000000", 0.4),
    "donker": ("#000000", 0.4),
    "light": ("#ffffff", 0.42),
    "pale": ("#ffffff", 0.5),
    "pastel": ("#ffffff", 0.5),
    "hell": ("#ffffff", 0.42),
    "licht": ("#ffffff", 0.42),
}
"""What an adjective before a colour mixes into it."""

NUMBERS: Final[dict[str, int]] = {
    "a": 1, "an": 1, "one": 1, "single": 1, "lone": 1, "ein": 1, "eine": 1, "een": 1,
    "two": 2, "pair": 2, "couple": 2, "zwei": 2, "twee": 2, "2": 2, "二": 2,
    "three": 3, "trio": 3, "drei": 3, "drie": 3, "3": 3, "三": 3,
    "four": 4, "vier": 4, "4": 4, "四": 4, "several": 4, "einige": 4, "enkele": 4, "few": 3,
    "five": 5, "fünf": 5, "vijf": 5, "5": 5, "五": 5, "some": 4,
    "six": 6, "sechs": 6, "zes": 6, "6": 6, "seven": 7, "sieben": 7, "zeven": 7, "7": 7,
    "eight": 8, "acht": 8, "8": 8, "many": 7, "viele": 7, "veel": 7,
    "dozen": 9, "dozens": 9, "nine": 9, "hundred": 9, "hundreds": 9, "countless": 9,
}  # fmt: skip

TIMES: Final[dict[Time, str]] = {
    Time.NEON: "neon cyberpunk synthwave vaporwave retrowave futuristic ネオン",
    Time.DAWN: "dawn sunrise morning daybreak sonnenaufgang morgen morgens morgendämmerung "
    "morgengrauen zonsopgang ochtend 朝 夜明け 日の出",
    Time.GOLDEN: "golden_hour golden_light warm_light late_afternoon goldene_stunde gouden_uur",
    Time.SUNSET: "sunset sundown evening sonnenuntergang abend abends zonsondergang avond "
    "夕日 夕焼け 夕方",
    Time.DUSK: "dusk twilight blue_hour dämmerung schemering 夕暮れ",
    Time.NIGHT: "night midnight moonlight moonlit starry stars moon full_moon aurora nacht nachts "
    "mond sterne maan sterren 夜 夜空 星空 月 月夜",
    Time.DAY: "day daytime noon midday sunny sunlit afternoon tag mittag sonnig sonnige dag "
    "middag zonnig zonnige 昼 晴れ",
}

WEATHERS: Final[dict[Weather, str]] = {
    Weather.STORM: "storm stormy thunder thunderstorm lightning tempest gewitter sturm stürmisch "
    "onweer bliksem 嵐 雷 雷雨",
    Weather.SNOW: "snow snowing snowfall snowflakes snowstorm blizzard schneefall schnee schneit "
    "sneeuw sneeuwval sneeuwt 雪 吹雪",
    Weather.RAIN: "rain rainy raining drizzle downpour wet regen regnerisch regnerischer regenac"
    "htig "
    "regenachtige 雨",
    Weather.FOG: "fog foggy mist misty haze hazy nebel neblig nebligen mistig mistige 霧",
    Weather.WIND: "wind windy breeze breezy gale gusty windig winderig 風",
    Weather.CLOUDY: "cloudy overcast gloomy clouds bewölkt wolkig bewolkt 曇り 雲",
}
"""The strongest weather first: it wins when a prompt names two."""

SEASONS: Final[dict[Season, str]] = {
    Season.SPRING: "spring springtime blossom blossoms cherry_blossom cherry_blossoms frühling "
    "lente 春 桜",
    Season.SUMMER: "summer summertime sommer zomer 夏",
    Season.AUTUMN: "autumn autumnal fall herbst herfst 秋 紅葉",
    Season.WINTER: "winter wintry snow snowy snowing snowfall blizzard frozen frosty icy schnee "
    "verschneit verschneite verschneiten sneeuw besneeuwd besneeuwde 冬 雪",
}

STYLES: Final[dict[Style, str]] = {
    Style.WATERCOLOUR: "watercolour watercolor watercolours watercolors aquarelle aquarell aquarel "
    "wasserfarben waterverf 水彩 水彩画 水彩風",
    Style.NEON: "neon_sign neon_light neon_lights neon_style neon_tube neon_tubes neon_art "
    "neonschild neonlicht neonröhren leuchtreklame neonstil neonreclame neonbord neonstijl "
    "ネオンサイン ネオン管 ネオン風",
    Style.PAPER: "paper_cut papercut paper_cutout paper_cutouts paper_cut_out cut_paper paper_art "
    "paper_craft papercraft layered_paper paper_collage scherenschnitt papierschnitt papierkunst "
    "papier_kunst papierknipsel knipkunst papierstijl 切り絵 切り紙 ペーパークラフト",
    Style.LINE: "line_art lineart line_drawing line_work outline_drawing ink_drawing pen_drawing "
    "sketch coloring_page colouring_page strichzeichnung linienzeichnung tuschezeichnung skizze "
    "ausmalbild lijntekening lijnkunst inkttekening schets kleurplaat 線画 ペン画 塗り絵 ぬりえ",
}

EDITS: Final[dict[Edit, str]] = {
    Edit.WARMER: "warmer wärmer warm_tones warmere 暖かく 暖かい",
    Edit.COOLER: "cooler colder kühler kälter koeler kouder 涼しく 冷たく",
    Edit.BRIGHTER: "brighter lighter heller lichter helderder 明るく",
    Edit.DARKER: "darker dunkler donkerder 暗く",
    Edit.GREY: "in_black_and_white into_black_and_white to_black_and_white it_black_and_white "
    "black_and_white_photo black_and_white_picture monochrome greyscale grayscale schwarzweiß "
    "schwarz_weiß monochrom zwartwit zwart_wit monochroom 白黒 モノクロ",
    Edit.SEPIA: "sepia セピア",
    Edit.FRAME: "frame framed picture_frame rahmen gerahmt bilderrahmen einrahmen lijst "
    "fotolijst ingelijst kader 額縁 フレーム",
    Edit.ADD: "add insert füge ergänze hinzufügen voeg toevoegen 追加 足して 加えて",
    Edit.RECOLOUR: "recolour recolor recoloured recolored colourise colorize tint tinted umfärben "
    "färbe einfärben kleur inkleuren verkleur 色を変えて",
}

ROW: Final = (
    "side_by_side next_to_each_other in_a_row line_up lined_up nebeneinander naast_elkaar 並べて"
)
"""Arrange the subjects or references in a row."""

NEGATIONS: Final = "no not without ohne kein keine geen zonder"
JOINS: Final = "and und en or と"
COPULAS: Final = "is are in painted wearing ist sind zijn"


def words(table: str) -> list[str]:
    """Return the entries of a table: spaces part them, an underscore is a space inside one."""
    return [entry.replace("_", " ") for entry in table.split()]
