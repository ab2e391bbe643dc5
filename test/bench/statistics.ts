// SPDX-License-Identifier: GPL-2.0-or-later

/** How a figure is spread over its runs. The machines that this runs on are noisy: the tails are told too. */
export interface Spread {
  readonly median: number;
  /** A tenth of the runs lie below, and a tenth above the other. */
  readonly p10: number;
  readonly p90: number;
  readonly min: number;
  readonly runs: number;
}

/** Sums up samples. @throws {Error} when there are none */
export function spread(samples: readonly number[]): Spread {
  if (samples.length === 0) throw new Error("Cannot sum up a measurement without a single sample.");
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    p10: quantile(sorted, 0.1),
    p90: quantile(sorted, 0.9),
    min: quantile(sorted, 0),
    runs: sorted.length,
  };
}

/**
 * How many times as large one figure is as another that was taken in the same turns: the ratio of their means, without
 * the highest and the lowest tenth. Not of their medians: the kernel lets some changes wait for its readers, 10 ms, and
 * others not, so the samples of one kind lie in two heaps and the median is in the one or the other.
 */
export function ratio(samples: readonly number[], base: readonly number[]): number {
  return trimmedMean(samples) / trimmedMean(base);
}

function trimmedMean(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const tenth = Math.floor(sorted.length / 10);
  const middle = sorted.slice(tenth, sorted.length - tenth);
  return middle.reduce((sum, sample) => sum + sample, 0) / middle.length;
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? 0;
  const high = sorted[Math.ceil(at)] ?? 0;
  return low + (high - low) * (at - Math.floor(at));
}
