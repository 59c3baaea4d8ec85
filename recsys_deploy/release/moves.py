"""Starting, promoting and taking back a release: check, write the route, and move the champion pointer last.

The route moves in one conditional write, the registry's champion pointer in one transaction after it. A failure
between the two leaves every shopper on one version; the same command again finishes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry, NothingToRollBackTo
from recsys_assets.registry.records import Status
from recsys_assets.registry.versions import Version
from recsys_deploy.release import strategies
from recsys_deploy.release.check import ReleaseRefused, check_release
from recsys_deploy.release.route import RouteRefused, plan_route, require_no_rollout, rewrite_route, target_of
from recsys_deploy.release.strategies import Strategy


def require_not_refused(registry: ModelRegistry, version: Version) -> None:
    """Raises `ReleaseRefused` where the promotion rules refused ``version``."""
    registered = registry.get(version)
    if registered.status is Status.REFUSED:
        reasons = " ".join(registered.refusal_reasons)
        raise ReleaseRefused(
            f"{version} was refused by the promotion rules: {reasons}",
            remedy="release another version, or this one with --even-if-refused",
        )


@dataclass(frozen=True)
class Releases:
    """Release commands on one environment.

    Attributes:
        serving: the table of the routing record.
        cache: local folder through which bundles are fetched for their check.
        clock: seconds since 1970 UTC.
    """

    registry: ModelRegistry
    bundles: BundleStore
    serving: Table
    cache: Path
    clock: Callable[[], float] = time.time

    def start(
        self,
        version: Version | None,
        strategy: Strategy,
        share: float = 0.1,
        endpoint: str | None = None,
        *,
        even_if_refused: bool = False,
    ) -> str:
        """Check a version (by default the registry's champion) and put it in front of shoppers; says what was done.

        Args:
            share: of shoppers who meet a canary, above 0 and below 1.
            endpoint: name of the version's endpoint; ``None``: scored in the process that answers.
            even_if_refused: release a version that the promotion rules refused.

        Raises:
            ReleaseRefused, BundleError, UnknownVersion: the version does not pass its check.
            RouteRefused: the route does not allow it (`strategies.begin`).
            ChampionMoved: the registry's champion changed meanwhile; the route is written, run the command again.
        """
        require_no_rollout(self.serving)
        if version is not None and not even_if_refused:
            require_not_refused(self.registry, version)
        checked = check_release(self.registry, self.bundles, self.cache, str(version) if version else None)
        target = replace(target_of(self.registry.get(checked.version)), endpoint=endpoint)
        now = int(self.clock())
        before, after = rewrite_route(
            self.serving, lambda current: strategies.begin(current, target, strategy, share, now)
        )
        if strategy is Strategy.IMMEDIATE:
            self._point_to(checked.version, "released to everybody at once")
        if after is None:
            return f"{checked.version} stands so already; nothing was changed"
        live = "nobody" if before is None else before.champion.target.version
        if strategy is Strategy.IMMEDIATE:
            return f"{checked.version} answers everybody; before it {live} did"
        how = {
            Strategy.CANARY: f"answers {100 * share:g} % of shoppers",
            Strategy.BLUE_GREEN: "answers every shopper with an id",
            Strategy.SHADOW: "is asked in the shadow",
        }[strategy]
        return f"{checked.version} {how} beside champion {live}; `recsys release promote` or `rollback` ends it"

    def share(self, share: float) -> str:
        """Give the challenger another share of shoppers. Raises `RouteRefused` where none is being tried."""
        require_no_rollout(self.serving)
        now = int(self.clock())
        _, after = rewrite_route(self.serving, lambda current: strategies.change_share(current, share, now))
        assert after is not None
        return f"{after.variants[1].target.version} answers {after.variants[1].weight / 100:g} % of shoppers"

    def promote(self) -> str:
        """Let what is being tried answer everybody, then make it the registry's champion.

        Again after a failure between the two, it moves the pointer alone.

        Raises:
            RouteRefused: nothing is being tried.
            ChampionMoved: the registry's champion changed meanwhile; run it again.
        """
        require_no_rollout(self.serving)
        unfinished = self._unfinished_promotion()
        if unfinished is not None:
            self._point_to(unfinished, "promoted after a release")
            return f"{unfinished} is champion; it answered everybody already"
        now = int(self.clock())
        before, after = rewrite_route(self.serving, lambda current: strategies.promote(current, now))
        assert before is not None and after is not None
        version = Version.parse(after.champion.target.version)
        self._point_to(version, "promoted after a release")
        return f"{version} answers everybody; before it {before.champion.target.version} did"

    def rollback(self, reason: str = "") -> str:
        """Take back what is being tried; where nothing is, return to the champion before this one.

        Raises:
            NothingToRollBackTo: nothing is being tried and the champion is the first there ever was.
            ReleaseRefused, BundleError: the former champion does not pass its check any more; nothing was changed.
            RouteRefused: there is no route yet, or other processes wrote it at every attempt.
        """
        require_no_rollout(self.serving)
        now = int(self.clock())
        current = read_routing(self.serving)
        if current is None:
            raise RouteRefused("nothing is live, so there is nothing to roll back")
        tried = strategies.tried_version(current)
        live = current.champion.target.version
        champion = self.registry.champion()
        if tried is not None:
            rewrite_route(self.serving, lambda record: strategies.withdraw(record, now))
            if champion is not None and str(champion.version) == tried:
                self._return_pointer(Version.parse(live), champion.version, reason or "release rolled back")
            return f"{tried} was taken back; champion {live} answers everybody"
        if champion is not None and str(champion.version) != live:
            self._return_pointer(Version.parse(live), champion.version, reason or "rolled back before its release")
            return f"{champion.version} had not met any shopper and is champion no more; {live} answers everybody"
        return self._to_former_champion(now, reason)

    def _to_former_champion(self, now: int, reason: str) -> str:
        moves = self.registry.history()
        fallback = moves[-1].fallback if moves else None
        if fallback is None:
            raise NothingToRollBackTo("no champion came before this one; release another version instead")
        check_release(self.registry, self.bundles, self.cache, str(fallback))
        target = target_of(self.registry.get(fallback))
        before, _ = rewrite_route(self.serving, lambda record: plan_route(record, target, now))
        self.registry.rollback(moves[-1].version, reason or "rolled back")
        was = moves[-1].version if before is None else before.champion.target.version
        return f"{fallback} answers everybody again; {was} does no more"

    def _point_to(self, version: Version, reason: str) -> None:
        champion = self.registry.champion()
        if champion is None or champion.version != version:
            self.registry.promote(version, champion.version if champion else None, reason)

    def _return_pointer(self, live: Version, champion: Version, reason: str) -> None:
        if self.registry.history()[-1].fallback == live:
            self.registry.rollback(champion, reason)
        else:
            self.registry.promote(live, champion, reason)

    def _unfinished_promotion(self) -> Version | None:
        """The version that answers everybody and was never made champion: only a cut-short promotion leaves one."""
        current = read_routing(self.serving)
        if current is None or strategies.tried_version(current) is not None:
            return None
        live = Version.parse(current.champion.target.version)
        return live if self.registry.get(live).status in (Status.CANDIDATE, Status.REFUSED) else None
