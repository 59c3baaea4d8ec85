"""Links from Dagster to pages of the home: the evaluation report and the data docs.

Browsers do not follow ``file://`` links from a page that came over HTTP. The setting ``RECSYS_PAGES_URL`` names the
server that serves the home's folders ``reports`` and ``data_docs`` under their names; without it the path is shown.
"""

from pathlib import Path

import dagster as dg

from lambda_api.settings import Settings


def page_link(settings: Settings, page: Path) -> dg.UrlMetadataValue | dg.PathMetadataValue:
    """The address of ``page``, a file of the home."""
    if not settings.pages_url:
        return dg.MetadataValue.path(str(page))
    return dg.MetadataValue.url(f"{settings.pages_url.rstrip('/')}/{page.relative_to(settings.home).as_posix()}")
