package strategies

// Spot says whether a step's machines may be spare ones, which cost less and
// which the provider may take back at any time.
type Spot string

// What a step may say of spare machines.
const (
	SpotNever  Spot = ""       // none
	SpotPrefer Spot = "prefer" // spare ones first, others when there are none
	SpotOnly   Spot = "only"   // no others
)
