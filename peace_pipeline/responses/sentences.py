"""The standard sentences: what networks of text are asked, whatever their vocabularies.

They are made of our own words by frames that take turns, from a fixed seed, so they are the same on every machine:
statements, opinions, questions, requests, reports, short titles, and plain sentences in other languages.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import cycle

import numpy as np

from peace_pipeline.responses.standard import PROBES

_SEED = 20_243
_WORDS = {
    name: tuple(words.split(" | "))
    for name, words in {
        "name": "Anna | Omar | Julia | Wei | Pedro | Fatima | Tom | Ivan | Maria | Kofi | Sarah | David | Yuki | Paul",
        "city": "Berlin | Paris | London | Tokyo | Lagos | Madrid | Boston | Cairo | Moscow | Delhi | Rome | Lima",
        "person": "my brother | the teacher | a young doctor | our neighbour | the old farmer | her lawyer | "
        "the driver | a famous singer | the minister | his boss | the nurse | a student | "
        "the police | the customer | the engineer",
        "animal": "dog | cat | horse | bird | whale | spider | bear | fish | snake | bee | elephant | wolf",
        "food": "soup | bread | a pizza | rice and beans | fresh fish | the cake | a salad | "
        "hot coffee | cold beer | cheese",
        "thing": "phone | car | book | camera | house | bicycle | ticket | guitar | letter | "
        "computer | chair | watch | key",
        "work": "film | novel | song | restaurant | hotel | game | show | museum | course | airline | shop | service",
        "good": "wonderful | excellent | very kind | beautiful | brilliant | delicious | a great success | "
        "really helpful | perfect | fast and reliable | the best I know | worth every penny",
        "bad": "terrible | boring | far too expensive | broken | a complete disaster | rude and slow | awful | "
        "dirty | the worst so far | disappointing | useless | not what was promised",
        "did": "bought | lost | found | repaired | sold | forgot | stole | painted | cleaned | returned | borrowed",
        "does": "likes | needs | wants | hates | sees | remembers | carries | hides | watches",
        "place": "in the garden | at the station | near the river | in the kitchen | at school | on the beach | "
        "in a small village | at the hospital | in the street | on the train | at work | in court",
        "time": "yesterday | last night | in 1998 | two years ago | on Monday | this morning | at noon | in the summer",
        "later": "tomorrow | next week | in two hours | by the end of the year | soon | in 2050 | on Friday",
        "number": "two | seven | twelve | 40 | 365 | 1,500 | three million | 0.5 | a dozen",
        "topic": "football | the election | climate change | mathematics | the war | cancer research | taxes | "
        "religion | music | space travel | the stock market | "
        "artificial intelligence | history | cooking | immigration",
        "team": "the national team | the champion | our school | the home side | the young striker",
        "firm": "the bank | a large oil company | the software maker | the airline | a start-up | the union",
        "part": "heart | left knee | back | skin | liver | eyes | stomach | blood",
        "ill": "a fever | a bad cold | diabetes | severe pain | an infection | a broken arm | high blood pressure",
        "feeling": "happy | sad | angry | afraid | surprised | proud | tired | in love | ashamed | jealous | calm",
        "weather": "sunny and warm | cold and windy | cloudy with some rain | foggy | freezing",
        "law": "the contract | the new law | the agreement | this licence | the constitution",
        "code": "for i in range(10): print(i) | SELECT name FROM users WHERE id = 3; | x = x + 1 | "
        "def f(x): return x * 2 | <p>Hello</p> | if (a == b) { return 0; } | git push --force | error: file not found",
    }.items()
}  # fmt: skip
_FRAMES = """
{name} {did} a {thing} {place} {time}.
The {work} was {good}, and {person} agrees.
I think this {work} is {bad}. Never again!
Where did {person} go {time}?
Please bring {food} and the {thing} {later}.
Scientists have found that the {animal} can live for {number} years.
{name} lives in {city} and {does} the {animal}.
{firm} reported a loss of {number} dollars {time}.
How do I repair my {thing}?
{team} won by {number} goals in {city} {time}.
The patient has {ill} and takes {number} pills a day for the {part}.
Fix this line: {code}
I am so {feeling} that {person} {did} my {thing}.
Under {law}, {person} must pay within {number} days.
Tomorrow it will be {weather} in {city}.
"We have to talk about {topic}," said {person}.
{topic} news from {city}
Do you know whether the {animal} {does} {food}?
No, {person} never {did} the {thing}.
{person} will speak about {topic} in {city} {later}.
Is {name} {feeling} because of {topic}?
Congratulations, you have won {number} euros! Call now to get your free {thing}.
Mix {food} with {number} spoons of sugar and wait.
The {work} in {city} was {bad}, but the staff were {good}.
It is not true that {topic} causes {ill}.
{name} wohnt in {city} und hat einen Hund.
{name} habite à {city} et aime la musique.
{name} vive en {city} y tiene un coche rojo.
{name} abita a {city} e lavora in banca.
{name} mora em {city} e gosta de futebol.
{name} woont in {city} en leest een boek.
{name} живёт в городе {city} и читает книгу.
{name}住在{city}，喜欢看电影。
{name}は{city}に住んでいます。
يعيش {name} في {city} ويحب القهوة.
""".strip().split("\n")


@lru_cache(maxsize=1)
def sentences() -> tuple[str, ...]:
    """The standard sentences, PROBES of them; any number of first ones has about equal parts of each frame."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(_SEED)))
    found: dict[str, None] = {}
    for frame in cycle(_FRAMES):
        if len(found) == PROBES:
            break
        filled = re.sub(r"\{(\w+)\}", lambda slot: _drawn(generator, slot[1]), frame)
        found[filled[0].upper() + filled[1:]] = None
    return tuple(found)


def _drawn(generator: np.random.Generator, name: str) -> str:
    words = _WORDS[name]
    return words[int(generator.integers(len(words)))]
