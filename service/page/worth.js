// How much an entity is worth a glance, and why.

const UNDECIDED = 0.15;
const NOVEL = 0.35;

/** Reasons to look at an answer, and a rank; the larger, the sooner it should be looked at. */
export function worth(entity, result, { labels, policy }, rival) {
  if (result.error) return { rank: 0, reasons: [] };
  const asserted = result.labels.filter((label) => label.asserted).map((label) => label.label);
  const found = [
    undecided(result, labels, policy),
    novel(result),
    against("given label", listed(entity.labels), asserted),
    rival && against("challenger", assertedOf(rival), asserted),
  ].filter(Boolean);
  return {
    rank: found.reduce((sum, reason) => sum + reason.rank, 0),
    reasons: found.map((reason) => reason.text),
  };
}

function undecided({ labels: given }, labels, policy) {
  let least = UNDECIDED;
  let nearest;
  for (const { label, probability } of given) {
    const threshold = labels.get(label)?.thresholds[policy];
    const distance = Math.abs(probability - (threshold ?? Infinity));
    if (distance < least) [least, nearest] = [distance, label];
  }
  return nearest && { rank: 1 - least / UNDECIDED, text: `undecided: ${nearest}` };
}

function novel({ labels: given }) {
  const best = Math.max(0, ...given.map((label) => label.probability));
  return best < NOVEL && { rank: 1 - best, text: "novel: nothing is probable" };
}

function against(who, theirs, ours) {
  if (!theirs) return null;
  const differing = [...theirs.filter((label) => !ours.includes(label)), ...ours.filter((label) => !theirs.includes(label))];
  return differing.length > 0 && { rank: 1, text: `${who} disagrees: ${differing.slice(0, 3).join(", ")}` };
}

function assertedOf(result) {
  return result.labels?.filter((label) => label.asserted).map((label) => label.label);
}

/** Given labels, which a spreadsheet has in one cell, separated by semicolons. */
function listed(labels) {
  if (labels === undefined || labels === null || labels === "") return null;
  return Array.isArray(labels) ? labels.map(String) : String(labels).split(";").map((label) => label.trim());
}
