"""HTML pages from the Jinja templates of a package: reports of evaluation and of monitoring."""

from typing import Any


def rendered(package: str, template: str, **values: Any) -> str:
    """The page ``templates/<template>`` of ``package``. What comes from ``values`` is escaped; a missing one raises."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)
