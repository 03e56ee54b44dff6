// Entities as people have them: JSON, JSON Lines, CSV, or cells copied from a spreadsheet.

export const MOST = 200;

/** The entities in a text, at most MOST of them; throws Error with what is wrong. */
export function parse(text) {
  const trimmed = text.trim();
  if (!trimmed) return [];
  const found = /^[[{]/.test(trimmed) ? fromJson(trimmed) : fromCells(trimmed);
  return found.slice(0, MOST);
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

function fromCells(text) {
  const first = text.split("\n", 1)[0];
  const separator = [..."\t;,"].find((candidate) => first.includes(candidate)) ?? ",";
  const [header, ...rows] = cells(text, separator);
  if (!rows.length) throw new Error("the first line must name the columns");
  return rows.map((row) =>
    Object.fromEntries(header.map((name, i) => [name.trim(), row[i]]).filter(([name, cell]) => name && cell)),
  );
}

/** Rows of cells; a quoted cell may hold separators, doubled quotes and line ends (RFC 4180). */
function cells(text, separator) {
  const rows = [];
  let row = [];
  const pattern = new RegExp(`("(?:[^"]|"")*"|[^${separator}\\r\\n"]*)(${separator}|\\r?\\n|$)`, "gy");
  for (let match; (match = pattern.exec(text)); ) {
    const [, cell, end] = match;
    row.push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
    if (end !== separator) {
      if (row.some((value) => value)) rows.push(row);
      row = [];
    }
    if (!end) break;
  }
  return rows;
}
