"""Publishing: from the lake to the stores that serving reads, and the route to the champion."""
