"""Words from which products, brands and places get readable names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CategoryWords:
    """A category's name, its kinds of product, its usual price, and whether shoppers use its products up."""

    name: str
    nouns: tuple[str, str, str, str]
    price: float
    consumable: bool = False


CATEGORIES: tuple[CategoryWords, ...] = (
    CategoryWords("Mugs", ("Mug", "Teacup", "Espresso Cup", "Travel Mug"), 9),
    CategoryWords("Candles", ("Candle", "Tealight Set", "Lantern", "Candle Holder"), 12),
    CategoryWords("Coffee", ("Coffee Beans", "Ground Coffee", "Coffee Capsules", "Cold Brew"), 14, True),
    CategoryWords("Lighting", ("Table Lamp", "Floor Lamp", "String Lights", "Pendant Light"), 55),
    CategoryWords("Cushions", ("Cushion", "Throw", "Seat Pad", "Bolster"), 24),
    CategoryWords("Stationery", ("Notebook", "Planner", "Pen Set", "Greeting Card"), 8),
    CategoryWords("Skincare", ("Face Cream", "Serum", "Cleanser", "Hand Balm"), 19, True),
    CategoryWords("Toys", ("Puzzle", "Wooden Train", "Plush Bear", "Building Blocks"), 22),
    CategoryWords("Kitchen Tools", ("Chopping Board", "Whisk", "Measuring Jug", "Paring Knife"), 16),
    CategoryWords("Tea", ("Green Tea", "Black Tea", "Herbal Tea", "Tea Sampler"), 11, True),
    CategoryWords("Bags", ("Tote Bag", "Backpack", "Wash Bag", "Shoulder Bag"), 42),
    CategoryWords("Garden", ("Plant Pot", "Watering Can", "Bird Feeder", "Herb Planter"), 21),
    CategoryWords("Wall Art", ("Poster", "Canvas Print", "Photo Frame", "Wall Clock"), 33),
    CategoryWords("Bath", ("Bath Towel", "Bath Mat", "Soap Dish", "Shower Curtain"), 26),
    CategoryWords("Cleaning", ("Laundry Powder", "Dish Soap", "Surface Spray", "Sponge Pack"), 7, True),
    CategoryWords("Headphones", ("Headphones", "Earbuds", "Portable Speaker", "Headset"), 79),
    CategoryWords("Tableware", ("Dinner Plate", "Bowl", "Serving Tray", "Cutlery Set"), 29),
    CategoryWords("Jewellery", ("Necklace", "Bracelet", "Earrings", "Ring"), 48),
    CategoryWords("Pet Food", ("Dog Food", "Cat Food", "Pet Treats", "Bird Seed"), 18, True),
    CategoryWords("Bedding", ("Duvet Cover", "Pillow", "Bed Sheet", "Blanket"), 52),
    CategoryWords("Fitness", ("Yoga Mat", "Dumbbell", "Resistance Band", "Water Bottle"), 31),
    CategoryWords("Snacks", ("Chocolate Bar", "Granola", "Roasted Nuts", "Oat Biscuits"), 5, True),
    CategoryWords("Storage", ("Storage Box", "Basket", "Hook Rail", "Shoe Rack"), 25),
    CategoryWords("Baking", ("Cake Tin", "Mixing Bowl", "Rolling Pin", "Cookie Cutters"), 17),
)

STYLES: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("Vintage", "Retro"), ("Modern", "Minimal")),
    (("Floral", "Botanical"), ("Geometric", "Striped")),
    (("Pastel", "Ivory"), ("Bold", "Neon")),
    (("Rustic", "Oak"), ("Polished", "Chrome")),
    (("Playful", "Cheerful"), ("Elegant", "Classic")),
    (("Organic", "Recycled"), ("Premium", "Luxury")),
)
"""Adjectives of each style dimension: those of its negative side, then those of its positive side."""

LOCATIONS: tuple[str, ...] = ("London", "Leeds", "Bristol", "Cardiff", "Glasgow", "Belfast")
LOCATION_SHARES: tuple[float, ...] = (0.38, 0.20, 0.16, 0.11, 0.10, 0.05)

GENDERS: tuple[str | None, ...] = ("female", "male", "other", None)
"""``None`` where a shopper did not say."""
GENDER_SHARES: tuple[float, ...] = (0.52, 0.42, 0.02, 0.04)

_ONSETS = ("Al", "Bra", "Cor", "Del", "Ev", "Fen", "Gal", "Hol", "Ir", "Jun", "Kel", "Lum", "Mar", "Nor", "Or", "Pel")
_MIDDLES = ("a", "be", "do", "fi", "la", "mi", "no", "ra", "se", "ti", "ve")
_ENDINGS = ("co", "dor", "form", "hus", "lin", "mere", "nia", "ra", "son", "tta", "vale", "wick", "x")


def category_words(index: int) -> CategoryWords:
    """Words of category ``index``; beyond the end of the list the words repeat with a numbered name."""
    words = CATEGORIES[index % len(CATEGORIES)]
    turn = index // len(CATEGORIES)
    return words if turn == 0 else CategoryWords(f"{words.name} {turn + 1}", words.nouns, words.price, words.consumable)


def brand_name(index: int) -> str:
    """A pronounceable name of brand ``index``; different for every index."""
    # 1009 has no common factor with the list lengths, so every combination occurs once and neighbours differ.
    combinations = len(_ONSETS) * len(_MIDDLES) * len(_ENDINGS)
    spread = index * 1009 % combinations
    onset, rest = spread % len(_ONSETS), spread // len(_ONSETS)
    middle, ending = rest % len(_MIDDLES), rest // len(_MIDDLES)
    name = _ONSETS[onset] + _MIDDLES[middle] + _ENDINGS[ending]
    turn = index // combinations
    return name if turn == 0 else f"{name} {turn + 1}"
