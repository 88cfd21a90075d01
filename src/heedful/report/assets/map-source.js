// What a map shows of some heads, as it comes: the whole map, a finer tile of the part in view, and curves along its edges.
import { cellIn, loadTile, partFor, serves, tileOfMap } from "./map-tiles.js";

// `backdrop` is what is shown until the map is there; `changed()` is called when
// there is more to show, `failed(words)` when there will not be.
export function mapSource(layer, chosen, { frame, backdrop, changed, failed }) {
  const source = { layer, chosen, backdrop, tile: null, curves: { entropy: null, received: null }, ask, cellAt, drawn: () => source.tile ?? source.backdrop, close: () => (isOpen = false) };
  let isOpen = true;
  let wanted = null;
  let isLoading = false;

  async function open() {
    const map = await layer.map(chosen);
    if (!isOpen) return;
    source.backdrop = tileOfMap(map);
    changed();
    source.curves.entropy = await layer.curve(chosen, "entropy");
    source.curves.received = (await layer.curve(chosen, "received"))?.map((sum) => sum / layer.queries) ?? null; // as shares
    if (isOpen) changed();
  }

  // Asks for a tile that is sharp on so many pixels, where the one that is there is not.
  function ask(view, pixels) {
    const part = partFor(view, frame, pixels);
    if (source.tile !== null && serves(source.tile.part, part, view)) return;
    wanted = part;
    if (!isLoading) load();
  }

  // One request at a time, and then the newest.
  async function load() {
    isLoading = true;
    while (wanted !== null && isOpen) {
      const part = wanted;
      wanted = null;
      await attempt("This part cannot be shown", async () => {
        const tile = await loadTile(layer, chosen, part, () => !isOpen || wanted !== null);
        if (tile !== null && isOpen) refine(show(tile, part));
      });
    }
    isLoading = false;
  }

  // Shows finer tiles of the same part as they come.
  async function refine(coarse) {
    await attempt("More detail cannot be shown", async () => {
      for (let tile = coarse; tile.finer !== null; ) {
        const finer = await tile.finer();
        if (!isOpen || source.tile !== tile) return;
        tile = show(finer, tile.part);
      }
    });
  }

  function show(tile, part) {
    source.tile = Object.assign(tile, { part });
    changed();
    return tile;
  }

  async function attempt(words, act) {
    try {
      await act();
    } catch (error) {
      if (isOpen) failed(`${words}: ${error.message}`);
    }
  }

  // The drawn cell at a position: of the tile, or of the whole map; a single pair where links are drawn.
  function cellAt({ i, j }) {
    const one = { top: i, bottom: i + 1, left: j, right: j + 1 };
    const { tile } = source;
    if (tile?.links && cellIn(tile, i, j) !== null) return { ...one, value: tile.links.weights.get(i * frame.keys + j) ?? null, isLink: true };
    return (tile && cellIn(tile, i, j)) ?? (source.backdrop && cellIn(source.backdrop, i, j)) ?? { ...one, value: null };
  }

  attempt("This map cannot be shown", open);
  return source;
}
