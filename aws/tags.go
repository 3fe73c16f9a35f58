package aws

import (
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
)

// Keys of the tags on all that the pool makes. The first five are those of
// loads v2.
const (
	tagName    = "Name"
	tagProject = "Project"
	tagRun     = "RunId"
	tagStep    = "Uuid"
	tagOwner   = "Owner"
	tagBroker  = "loads:broker"
	tagToken   = "loads:token" // of the call that launched it
	tagMachine = "loads:machine"
	// tagDeadline is when the machine must be gone, for whoever looks.
	tagDeadline = "loads:deadline"
)

// project is the value of tagProject.
const project = "loads"

// maxTag is how many characters a tag's value may have.
const maxTag = 256

// groupTags are the tags of what belongs to a run as a whole.
func groupTags(req broker.MachineRequest) []types.Tag {
	name := "loads-" + req.BrokerID
	if req.PlanName != "" {
		name += "-" + req.PlanName
	}
	return toTags(map[string]string{
		tagName: name, tagProject: project, tagRun: req.RunUUID, tagOwner: req.Owner, tagBroker: req.BrokerID,
	})
}

// machineTags are the tags of machines that one call makes, and of their parts:
// one call can't give them different ones, so they tell the numbers of all, in the
// order of launch indexes.
func machineTags(req broker.MachineRequest, token string, numbers []int, ends time.Time) []types.Tag {
	return append(groupTags(req), toTags(map[string]string{
		tagStep: req.StepUUID, tagToken: token, tagDeadline: ends.UTC().Format(time.RFC3339),
		"loads:step": req.StepName, tagMachine: strings.Trim(fmt.Sprint(numbers), "[]"),
	})...)
}

// isOurs reports whether the pool puts on tags with the key.
func isOurs(key string) bool {
	return slices.Contains([]string{tagName, tagProject, tagRun, tagStep, tagOwner}, key) || strings.HasPrefix(key, "loads:")
}

// toTags puts tags in the order of their keys, so that equal ones make equal
// requests. Empty ones are left out.
func toTags(of map[string]string) []types.Tag {
	var out []types.Tag
	for k, v := range of {
		if v != "" {
			out = append(out, types.Tag{Key: sdk.String(k), Value: sdk.String(tagValue(v))})
		}
	}
	slices.SortFunc(out, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	return out
}

// tagValue shortens what is too long for a tag.
func tagValue(v string) string {
	if r := []rune(v); len(r) > maxTag {
		return string(r[:maxTag])
	}
	return v
}

// fromTags returns tags as a map.
func fromTags(tags []types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		out[sdk.ToString(t.Key)] = sdk.ToString(t.Value)
	}
	return out
}
