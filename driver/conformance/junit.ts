import { type Report, totalsOf } from './report.js';

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;', '\n': '&#10;', '\t': '&#9;' };

/** Text inside an attribute or element; what XML cannot hold at all becomes U+FFFD. */
export function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 forbids exactly these
  const sound = text.replace(/[\u0000-\u0008\u000b-\u001f\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd');
  return sound.replace(/[&<>"'\n\t]/g, (character) => entities[character] ?? character);
}

const seconds = (milliseconds: number) => (milliseconds / 1000).toFixed(3);

/** The report in the form that CI servers read: a suite for each group, a case for each item. */
export function junitOf({ name, results }: Report): string {
  const groups = [...new Set(results.map(({ group }) => group))];
  const all = totalsOf(results);
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>'];
  const time = (milliseconds: number[]) => seconds(milliseconds.reduce((sum, value) => sum + value, 0));
  const counts = ({ passed, failed, notRun }: ReturnType<typeof totalsOf>) =>
    `tests="${passed + failed + notRun}" failures="${failed}" errors="0" skipped="${notRun}"`;
  lines.push(`<testsuites name="${escapeXml(`conformance of ${name}`)}" ${counts(all)} time="${time(results.map(({ milliseconds }) => milliseconds))}">`);
  for (const group of groups) {
    const cases = results.filter((result) => result.group === group);
    lines.push(`  <testsuite name="${escapeXml(group)}" ${counts(totalsOf(cases))} time="${time(cases.map(({ milliseconds }) => milliseconds))}">`);
    for (const { name: item, section, title, outcome, milliseconds, reason = '', expected = '', came = '', trace = [] } of cases) {
      const open = `    <testcase name="${escapeXml(item)}" classname="${escapeXml(section)}" time="${seconds(milliseconds)}"`;
      if (outcome === 'passed') lines.push(`${open}/>`);
      else if (outcome === 'not run') lines.push(`${open}><skipped message="${escapeXml(reason)}"/></testcase>`);
      else {
        const text = [title, `expected: ${expected}`, `came: ${came}`, ...trace].join('\n');
        lines.push(`${open}><failure message="${escapeXml(`expected ${expected}; came ${came}`)}">${escapeXml(text)}</failure></testcase>`);
      }
    }
    lines.push('  </testsuite>');
  }
  lines.push('</testsuites>', '');
  return lines.join('\n');
}
