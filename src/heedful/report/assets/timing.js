// When work is done: with the next frame, or in slices between which the page may draw and answer.

// A function that calls `act` with the next frame, once however often it is called until then.
export function perFrame(act) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    window.requestAnimationFrame(() => {
      isWaiting = false;
      act();
    });
  };
}

// A function to await between steps of work: it pauses where a slice of so many milliseconds is over, and says whether it did.
export function slices(milliseconds) {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < milliseconds) return false;
    await new Promise((done) => setTimeout(done));
    since = performance.now();
    return true;
  };
}
