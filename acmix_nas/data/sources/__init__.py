"""`open_source`: from what a user writes after --data to a `Source`. One file reads one kind; a new file is a new kind.

A file has `LAYOUT`, one line that says what it reads; `matches(spec) -> bool`, a quick look whether that is there; and
`open_source(spec) -> Source`, which lists the images and decodes none. At most one kind matches a source.
"""

from os import PathLike, fspath
from pathlib import Path
from types import FunctionType, ModuleType

from acmix_nas import registry
from acmix_nas.data.source import Source, first_few
from acmix_nas.data.sources._looks import looks_like
from acmix_nas.errors import AcmixError, DataError
from acmix_nas.plugins import is_plug_in, load_value

KINDS = "data.sources"
PREFIXES = ("hfds/", "torch/", "wds/")
"""What a source that is named, and not only found, begins with."""
OWN = "a function of your own by its dotted path, as my_lab.data:shapes, which returns an acmix_nas.data.Source"


def open_source(spec: str | PathLike[str] | None) -> Source:
    """Lists a source.

    Args:
        spec: A folder, a file, or a name with a prefix, as the files in `sources/` take them; or the dotted path of a
            function of the user's own, as my_lab.data:shapes or my_lab.data:shapes/REST, which is given REST and
            returns a `Source`; None for the embedded images.

    Raises:
        DataError: There is nothing, nothing that any kind of source reads, or what there is is not as it should be.
        PluginError: The user's module may not or cannot be imported (`acmix_nas.plugins`), or has no such function.
    """
    text = "embedded" if spec is None else fspath(spec)
    if (own := split_path(text)) is not None:
        return _of_own(*own)
    kinds = [registry.load(KINDS, name) for name in registry.names(KINDS)]
    for kind in kinds:
        if kind.matches(text):
            source: Source = kind.open_source(text)
            return source
    raise DataError(_nothing(text, kinds))


def absolute(spec: str | PathLike[str]) -> str:
    """The same source, named so that it is found from any folder."""
    prefix, slash, rest = fspath(spec).partition("/")
    if prefix + slash in PREFIXES or split_path(fspath(spec)) is not None:
        return f"{prefix}/{Path(rest).resolve()}" if rest and Path(rest).exists() else fspath(spec)
    return str(Path(spec).resolve()) if Path(spec).exists() else fspath(spec)


def split_path(spec: str) -> tuple[str, str] | None:
    """The dotted path of a function of the user's own and what follows its slash; None for any other source."""
    path, _, rest = spec.partition("/")
    return (path, rest) if ":" in path and is_plug_in(path.partition(":")[0]) and not Path(spec).exists() else None


def _of_own(path: str, rest: str) -> Source:
    reads = load_value(path, FunctionType)
    try:
        source = reads(rest)
    except AcmixError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"{path} cannot list its images: {type(error).__name__}: {error}.") from error
    if not isinstance(source, Source):
        raise DataError(f"{path} returns a {type(source).__name__}; an acmix_nas.data.Source is needed.")
    return source


def _nothing(spec: str, kinds: list[ModuleType]) -> str:
    rule = "a source of images is one of\n" + "".join(f"  - {layout}\n" for layout in (*[k.LAYOUT for k in kinds], OWN))
    path = Path(spec)
    if not path.exists():
        return f"there is no folder or file {spec}. Check the path; {rule}".rstrip()
    if path.is_file():
        return f"{rule}The file {spec} is none of them. {looks_like(path)}".rstrip()
    found = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    shown = first_few(found, 8) or "nothing"
    look = looks_like(path) or "Move or link the images into one of these layouts."
    return f"{rule}{spec} has {shown}. {look}"
