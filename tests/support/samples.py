"""Message sizes and texts at which the compiled paths change their method."""

SIZES = [*range(140), 255, 256, 1023, 1024, 4096, 16383, 16384, 16385, 40000, 65535, 65536]
SAMPLES = [
    "a",
    "é",
    "€",
    "🎉",
    "aé",
    "a€",
    "a🎉",
    "é€🎉a",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaé",
    "\x7f\x80",
    "\xff",
    "\u0100",
]
