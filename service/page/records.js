// Entities from text: JSON, JSON Lines, CSV, or cells copied from a spreadsheet.

/** The entities in a text; throws an Error that describes what is wrong. */
export function parse(text) {
  const trimmed = text.trim();
  if (!trimmed) return [];
  return /^[[{]/.test(trimmed) ? fromJson(trimmed) : fromCells(text);
}

function fromJson(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = text.split("\n").filter((line) => line.trim()).map(fromLine);
  }
  const records = Array.isArray(value) ? value : value.entities ?? [value];
  if (!Array.isArray(records) || records.some((item) => item === null || typeof item !== "object"))
    throw new Error("JSON must be an object, or a list of objects");
  return records;
}

function fromLine(line, number) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`line ${number + 1} is not JSON`);
  }
}

/** The entities in cells; columns without a name, such as row numbers, are left out. */
function fromCells(text) {
  const [first] = text.match(/.*\S.*/);
  const separator = [..."\t;,"].find((candidate) => first.includes(candidate)) ?? ",";
  const [header, ...rows] = cells(text, separator).filter(({ row }) => filled(row));
  if (!rows.length) throw new Error("no rows: the first line names the columns, each further line is a row");
  return rows.map(({ row, number }) => {
    if (filled(row.slice(header.row.length))) throw new Error(`row ${number} has more cells than the first line has columns`);
    return Object.fromEntries(header.row.map((name, i) => [name.trim(), row[i]]).filter(([name, cell]) => name && cell));
  });
}

const filled = (row) => row.some((cell) => cell.trim());

/**
 * Rows of cells, numbered from 1. A quoted cell may hold separators, doubled quotes and line ends
 * (RFC 4180). The quotes of a cell that is not quoted from its start to its end are text: 12", "Joe" Pizza.
 */
function cells(text, separator) {
  const rows = [];
  let row = [];
  const pattern = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^${separator}\\r\\n]*))(${separator}|\\r?\\n|\\r|$)`, "gy");
  for (const [, quoted, plain, end] of text.matchAll(pattern)) {
    row.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === separator) continue;
    rows.push({ row, number: rows.length + 1 });
    row = [];
  }
  return rows;
}
