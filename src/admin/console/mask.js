// Phone numbers in what is shown, as the gateway's log masks them: 7 to 13 digits in a row.

export function masked(text) {
  return text.replace(/[0-9]+/g, (digits) => {
    if (digits.length < 7 || digits.length > 13) return digits;
    return digits.length >= 9 ? `${digits.slice(0, 3)}****${digits.slice(-4)}` : `****${digits.slice(-2)}`;
  });
}
