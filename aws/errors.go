package aws

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/loads/loads/broker"
)

// A kind of failure says what to do about it.
type kind int

const (
	outcomeUnknown kind = iota // it may have been done: the same call again tells
	refusedFull                // no room in that zone: another may have it
	refusedQuota               // the account may not have more
	refusedSpot                // no spot machine, for its price or the account's limit
	refusedSoon                // too many calls: later
	refusedUnseen              // what was just made is not known everywhere yet
	refusedDenied              // the credentials don't allow it
	refusedWrong               // the request is wrong
	notFit                     // an idle machine is of no use to another run
	doneBefore                 // by the same call, and some of what it made has ended
)

// kinds are the codes of EC2's errors that need their own treatment.
var kinds = map[string]kind{
	"InsufficientInstanceCapacity":         refusedFull,
	"InsufficientHostCapacity":             refusedFull,
	"InsufficientReservedInstanceCapacity": refusedFull,
	"InsufficientCapacity":                 refusedFull,
	"InsufficientFreeAddressesInSubnet":    refusedFull,
	"Unsupported":                          refusedFull,
	"VcpuLimitExceeded":                    refusedQuota,
	"InstanceLimitExceeded":                refusedQuota,
	"MaxSpotInstanceCountExceeded":         refusedSpot,
	"SpotMaxPriceTooLow":                   refusedSpot,
	"RequestLimitExceeded":                 refusedSoon,
	"Throttling":                           refusedSoon,
	"ThrottlingException":                  refusedSoon,
	"EC2ThrottledException":                refusedSoon,
	"IdempotentInstanceTerminated":         doneBefore,
	"InvalidGroup.NotFound":                refusedUnseen,
	"InvalidInstanceID.NotFound":           refusedUnseen,
	"UnauthorizedOperation":                refusedDenied,
	"AuthFailure":                          refusedDenied,
	"InvalidClientTokenId":                 refusedDenied,
	"SignatureDoesNotMatch":                refusedDenied,
	"ExpiredToken":                         refusedDenied,
	"RequestExpired":                       refusedDenied,
	"AccessDenied":                         refusedDenied,
	"AccessDeniedException":                refusedDenied,
	"UnrecognizedClientException":          refusedDenied,
	"OptInRequired":                        refusedDenied,
}

// codeOf returns the code of AWS's answer; "" if there was none.
func codeOf(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

// kindOf says what kind of failure the error is of.
func kindOf(err error) kind {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return outcomeUnknown
	}
	if k, ok := kinds[answer.ErrorCode()]; ok {
		return k
	}
	if answer.ErrorFault() == smithy.FaultClient || strings.HasPrefix(answer.ErrorCode(), "Invalid") ||
		answer.ErrorCode() == "MissingParameter" || answer.ErrorCode() == "IdempotentParameterMismatch" {
		return refusedWrong
	}
	return outcomeUnknown
}

// messageOf returns AWS's own words.
func messageOf(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorMessage()
	}
	return err.Error()
}

// failed says what was tried, in a sentence for users where they can do
// something about it.
func failed(doing string, err error) error {
	switch kindOf(err) {
	case refusedDenied:
		return &broker.Error{Code: broker.EUnavailable, Err: err, Message: fmt.Sprintf(
			"AWS does not let these credentials %s; check them, and give them what aws/policy.json has", doing)}
	case refusedWrong:
		return &broker.Error{Code: broker.EInvalid, Message: fmt.Sprintf("AWS refused to %s: %s", doing, messageOf(err)), Err: err}
	}
	return &broker.Error{Code: broker.EUnavailable, Err: err, Message: fmt.Sprintf("AWS can't be asked to %s", doing)}
}

// summary joins errors, each text once.
func summary(errs []error) error {
	var out []error
	seen := map[string]bool{}
	for _, err := range errs {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	return errors.Join(out...)
}
