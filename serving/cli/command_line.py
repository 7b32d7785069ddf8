"""How every `draw` command reads its words: none is dropped, and a mistake is answered with the nearest name."""

from __future__ import annotations

import difflib
import functools

import click


class StrictCommand(click.Command):
    """A command that refuses words it has no place for, and says which option each of them may have been.

    An option of type `SeveralWords` takes all words up to the next option, as a shell writes them for a pattern.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments. Raises UsageError for what is left."""
        ctx.allow_extra_args = True  # so that they are left, and the error is ours
        words = super().parse_args(ctx, self._spread(args))
        if words and not ctx.resilient_parsing:
            raise click.UsageError(self._refusal(words), ctx)
        return words

    def _spread(self, args: list[str]) -> list[str]:
        """Writes `--input a b` as `--input a --input b`."""
        several = {
            name
            for option in self.params
            if isinstance(option, click.Option) and isinstance(option.type, SeveralWords)
            for name in option.opts
        }
        spread: list[str] = []
        name = None
        for place, word in enumerate(args):
            if word == "--":
                return [*spread, *args[place:]]
            if word.startswith("-"):
                option, equals, _ = word.partition("=")
                name = option if option in several else None
                spread.append(word)
                is_first = not equals
            elif name is not None:
                spread += [word] if is_first else [name, word]
                is_first = False
            else:
                spread.append(word)
        return spread

    def _refusal(self, words: list[str]) -> str:
        shown = ", ".join(map(repr, words[:3])) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
        options = {name for option in self.params for name in option.opts if name.startswith("--")}
        bare = {name.lstrip("-"): name for name in options}
        near = [bare[name] for name in difflib.get_close_matches(words[0].lstrip("-"), bare, 1)]
        hint = f" Did you mean {near[0]}?" if near else " Put a value that has spaces or wildcards in quotes."
        return f"There is no place for {shown}: expected an option here.{hint}"


class SeveralWords(click.types.StringParamType):
    """The type of an option that takes one word or several, and may be repeated."""


draw_command = functools.partial(click.command, cls=StrictCommand)
"""As `click.command`, for a StrictCommand."""

input_option = click.option(
    "--input",
    "inputs",
    required=True,
    multiple=True,
    type=SeveralWords(),
    metavar="PATTERN...",
    help="Folders, files, and patterns of files; may be repeated.",
)
"""Adds the images of a command that reads any number of files, as `inputs`."""
