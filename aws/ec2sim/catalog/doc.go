// Package catalog is what the simulated cloud has to offer: regions and zones,
// instance types with their prices, images. It is a part of the real offer, made
// in the middle of 2026, and doesn't change while a simulator runs.
package catalog
