"use strict";
// A link such as /login#token=… logs in at once; what follows # never leaves the browser by itself.
function useFragment() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("token").value = given;
  document.getElementById("login").requestSubmit();
}
addEventListener("hashchange", useFragment);
useFragment();
