#!/usr/bin/env python3
"""Turn a terminal screen with ANSI colours into an SVG picture.

    tmux capture-pane -e -p -N | docs/tools/ansi2svg.py --title 'firewall-ctl top' > docs/top.svg

Reads what `tmux capture-pane -e -p -N` prints (-N keeps blanks at a line's end): lines of text with SGR sequences (bold, dim, underline,
reverse, 16 and 256 colours, 24-bit colours). Any other escape sequence is an error, not a guess.
Needs Python 3 and nothing else. Every cell is placed by itself, so the picture does not depend on
how wide the viewer's font is; block and box characters are drawn as rectangles, without gaps.
"""

import argparse
import re
import sys
import unicodedata
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

CELL_W, CELL_H, FONT = 8.4, 18.0, 14.0
BASELINE = 13.5
PAD, BAR = 14.0, 30.0

BACKGROUND, FOREGROUND, FRAME = "#161b22", "#d0d7de", "#30363d"
# The 16 colours of the palette, chosen for contrast of at least 4.5 on BACKGROUND.
PALETTE = [
    "#484f58", "#ff7b72", "#56d364", "#e3b341", "#79a8ff", "#d2a8ff", "#56d4dd", "#d0d7de",
    "#8b949e", "#ffa198", "#7ee787", "#f2cc60", "#a5c8ff", "#e2c5ff", "#8ae6ee", "#ffffff",
]

# Which of its four arms (left, right, up, down) a box character has.
BOXES = {"─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu",
         "├": "rud", "┤": "lud", "┬": "lrd", "┴": "lru", "┼": "lrud"}

SGR = re.compile(r"\x1b\[([0-9;:]*)m")
OTHER_ESCAPE = re.compile(r"\x1b(?!\[[0-9;:]*m)")


@dataclass(frozen=True)
class Style:
    """How one cell looks."""

    fg: str | None = None
    bg: str | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False
    reverse: bool = False

    def colours(self) -> tuple[str, str | None]:
        """Foreground, and background if it is not the screen's."""
        fg, bg = self.fg or FOREGROUND, self.bg
        if self.reverse:
            fg, bg = bg or BACKGROUND, fg
        if self.dim:
            fg = blend(fg, bg or BACKGROUND, 0.6)
        return fg, bg


def blend(a: str, b: str, share: float) -> str:
    """`share` of colour a and the rest of colour b."""
    mix = lambda i: round(int(a[i:i + 2], 16) * share + int(b[i:i + 2], 16) * (1 - share))
    return "#" + "".join(f"{mix(i):02x}" for i in (1, 3, 5))


def indexed(n: int) -> str:
    """Colour n of the 256-colour palette (xterm's cube and grey ramp)."""
    if n < 16:
        return PALETTE[n]
    if n < 232:
        levels = [0, 95, 135, 175, 215, 255]
        r, g, b = (n - 16) // 36, (n - 16) // 6 % 6, (n - 16) % 6
        return f"#{levels[r]:02x}{levels[g]:02x}{levels[b]:02x}"
    return "#" + f"{8 + (n - 232) * 10:02x}" * 3


def apply_sgr(style: Style, codes: str) -> Style:
    """The style after one SGR sequence (ECMA-48, 8.3.117)."""
    numbers = [int(code or 0) for code in re.split("[;:]", codes)]
    at = 0
    while at < len(numbers):
        n = numbers[at]
        at += 1
        if n == 0:
            style = Style()
        elif n == 1:
            style = replace(style, bold=True)
        elif n == 2:
            style = replace(style, dim=True)
        elif n == 4:
            style = replace(style, underline=True)
        elif n == 7:
            style = replace(style, reverse=True)
        elif n == 22:
            style = replace(style, bold=False, dim=False)
        elif n == 24:
            style = replace(style, underline=False)
        elif n == 27:
            style = replace(style, reverse=False)
        elif n in (38, 48):
            name = "fg" if n == 38 else "bg"
            if numbers[at:at + 1] == [5] and len(numbers) > at + 1:
                style = replace(style, **{name: indexed(numbers[at + 1])})
                at += 2
            elif numbers[at:at + 1] == [2] and len(numbers) > at + 3:
                rgb = numbers[at + 1:at + 4]
                style = replace(style, **{name: "#" + "".join(f"{c:02x}" for c in rgb)})
                at += 4
            else:
                sys.exit(f"ansi2svg: colour {codes!r} is not understood")
        elif 30 <= n <= 37:
            style = replace(style, fg=PALETTE[n - 30])
        elif 40 <= n <= 47:
            style = replace(style, bg=PALETTE[n - 40])
        elif 90 <= n <= 97:
            style = replace(style, fg=PALETTE[n - 82])
        elif 100 <= n <= 107:
            style = replace(style, bg=PALETTE[n - 92])
        elif n == 39:
            style = replace(style, fg=None)
        elif n == 49:
            style = replace(style, bg=None)
        else:
            sys.exit(f"ansi2svg: SGR {n} is not understood")
    return style


def cells(text: str) -> list[list[tuple[str, Style]]]:
    """The screen as lines of cells."""
    style, lines = Style(), []
    for number, line in enumerate(text.split("\n"), 1):
        if OTHER_ESCAPE.search(line):
            sys.exit(f"ansi2svg: line {number} has an escape sequence other than SGR")
        row: list[tuple[str, Style]] = []
        for index, part in enumerate(SGR.split(line)):
            if index % 2:
                style = apply_sgr(style, part)
                continue
            for char in part:
                row.append((char, style))
                if unicodedata.east_asian_width(char) in "WF":
                    row.append(("", style))
        lines.append(row)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def number(value: float) -> str:
    """At most two digits after the point, none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rect(x: float, y: float, w: float, h: float, fill: str) -> str:
    return (f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}" '
            f'fill="{fill}" shape-rendering="crispEdges"/>')


def box(char: str, x: float, y: float, fill: str) -> list[str]:
    """A box character as bars from the middle of the cell to its edges."""
    mx, my = CELL_W / 2 - 0.5, CELL_H / 2 - 0.5
    arms = {
        "l": (x, y + my, CELL_W / 2 + 0.5, 1), "r": (x + mx, y + my, CELL_W / 2 + 0.5, 1),
        "u": (x + mx, y, 1, CELL_H / 2 + 0.5), "d": (x + mx, y + my, 1, CELL_H / 2 + 0.5),
    }
    return [rect(*arms[arm], fill) for arm in BOXES[char]]


def runs(row: list[tuple[str, Style]], same) -> list[tuple[int, int]]:
    """Start and end of stretches of cells that look the same."""
    found, start = [], 0
    for at in range(1, len(row) + 1):
        if at == len(row) or same(row[at]) != same(row[start]):
            found.append((start, at))
            start = at
    return found


def draw_row(row: list[tuple[str, Style]], y: float) -> list[str]:
    out = []
    for start, end in runs(row, lambda cell: cell[1].colours()[1]):
        bg = row[start][1].colours()[1]
        if bg:
            out.append(rect(PAD + start * CELL_W, y, (end - start) * CELL_W, CELL_H, bg))
    kind = lambda cell: (cell[1], "▁" <= cell[0] <= "█", cell[0] in BOXES)
    for start, end in runs(row, kind):
        style, blocks, boxes = kind(row[start])
        fg, _ = style.colours()
        if boxes:
            for at in range(start, end):
                out += box(row[at][0], PAD + at * CELL_W, y, fg)
            continue
        if blocks:
            # Neighbours of the same height are one rectangle.
            for a, b in runs(row[start:end], lambda cell: cell[0]):
                height = CELL_H * (ord(row[start + a][0]) - 0x2580) / 8
                x = PAD + (start + a) * CELL_W
                out.append(rect(x, y + CELL_H - height, (b - a) * CELL_W, height, fg))
            continue
        text = "".join(char for char, _ in row[start:end])
        for word in re.finditer(r"\S+(?: \S+)*", text):
            x = PAD + (start + word.start()) * CELL_W
            # One x for each character: the grid stays a grid in every font.
            xs = " ".join(number(x + i * CELL_W) for i in range(len(word.group())))
            extra = ' font-weight="bold"' if style.bold else ""
            extra += ' text-decoration="underline"' if style.underline else ""
            out.append(f'<text x="{xs}" y="{number(y + BASELINE)}" fill="{fg}"{extra}>'
                       f"{escape(word.group())}</text>")
    return out


def svg(text: str, title: str, columns: int) -> str:
    lines = cells(text)
    columns = max([columns, *(len(row) for row in lines)])
    width, height = columns * CELL_W + 2 * PAD, len(lines) * CELL_H + BAR + PAD
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width)}" height="{number(height)}" role="img" '
        f'aria-label="{escape(title, {chr(34): "&quot;"})}">',
        f"<title>{escape(title)}</title>",
        f'<rect x="0.5" y="0.5" width="{number(width - 1)}" height="{number(height - 1)}" rx="8" '
        f'fill="{BACKGROUND}" stroke="{FRAME}"/>',
        *(f'<circle cx="{PAD + 4 + i * 16:g}" cy="15" r="5" fill="{FRAME}"/>' for i in range(3)),
        f'<text x="{number(width / 2)}" y="19" fill="#8b949e" text-anchor="middle" '
        f'font-family="sans-serif" font-size="12">{escape(title)}</text>',
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', '
        f'monospace" font-size="{FONT:g}" xml:space="preserve">',
    ]
    for index, row in enumerate(lines):
        out += draw_row(row, BAR + index * CELL_H)
    return "\n".join([*out, "</g>", "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn `tmux capture-pane -e -p` into an SVG.")
    parser.add_argument("--title", default="terminal", help="text of the title bar")
    parser.add_argument("--columns", type=int, default=80, help="least width, in cells")
    options = parser.parse_args()
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(svg(sys.stdin.read(), options.title, options.columns))


if __name__ == "__main__":
    main()
