package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// defaultBroker is asked when no other broker is named.
const defaultBroker = "http://127.0.0.1:8080"

// probeTimeout bounds the question whether a broker answers.
const probeTimeout = 3 * time.Second

// manyRuns is how many of the newest runs are looked through for a prefix.
const manyRuns = 1000

// namedBroker is the broker that the user named, empty if none.
func (p *program) namedBroker() string {
	return cmp.Or(p.broker, p.Getenv("LOADS_BROKER"))
}

// client makes a client of the broker at url.
func (p *program) client(url string) (*api.Client, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	return &api.Client{BaseURL: strings.TrimRight(url, "/"), Token: token, HTTP: &http.Client{}}, nil
}

func (p *program) token() (string, error) {
	if p.tokenFile == "" {
		return strings.TrimSpace(p.Getenv("LOADS_TOKEN")), nil
	}
	data, err := os.ReadFile(p.tokenFile)
	if err != nil {
		return "", broker.Errorf(broker.EInvalid, "The token file can't be read: %v.", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// connect returns a client of the broker that the user named, or else of the
// one that answers where brokers usually are.
func (p *program) connect(ctx context.Context) (*api.Client, error) {
	if url := p.namedBroker(); url != "" {
		return p.client(url)
	}
	c, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, broker.Errorf(broker.EUnavailable,
			"No broker answers at %s; start one with loads broker, or name one with --broker or LOADS_BROKER.", defaultBroker)
	}
	return c, nil
}

// connectRun returns a client, as connect does, and the uuid of the run that arg
// means, as findRun does.
func (p *program) connectRun(ctx context.Context, arg string) (*api.Client, string, error) {
	client, err := p.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	id, err := findRun(ctx, client, arg)
	return client, id, err
}

// find looks for a broker that nobody named: at the default address, then the
// one that holds the default database, which a run may have left behind. It
// returns nil when there is none.
func (p *program) find(ctx context.Context) (*api.Client, error) {
	urls := []string{defaultBroker}
	if db, err := p.defaultDB(); err == nil {
		if url, err := readURL(db); err == nil {
			urls = append(urls, url)
		}
	}
	for _, url := range urls {
		c, err := p.client(url)
		if err != nil {
			return nil, err
		}
		err = probe(ctx, c)
		if err == nil {
			return c, nil
		}
		if broker.CodeOf(err) == broker.EUnauthorized {
			return nil, err
		}
	}
	return nil, nil
}

// probe asks whether a broker answers.
func probe(ctx context.Context, c *api.Client) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	info, err := c.Info(ctx, 1, 0)
	if err == nil && info.BrokerID == "" {
		return broker.Errorf(broker.EUnavailable, "What answers at %s is no broker of this version.", c.BaseURL)
	}
	return err
}

// isUUID reports whether a text is a uuid as brokers write it.
func isUUID(arg string) bool {
	id, err := uuid.Parse(arg)
	return err == nil && id.String() == arg
}

// begins reports whether an id begins with what somebody has typed.
func begins(id, typed string) bool {
	return strings.HasPrefix(strings.ToLower(id), strings.ToLower(typed))
}

// findRun returns the uuid of the run that arg means: a uuid, the beginning of
// one, or last. Who starts a run by the API may give it another name.
func findRun(ctx context.Context, c *api.Client, arg string) (string, error) {
	if isUUID(arg) {
		return arg, nil
	}
	limit := manyRuns
	if arg == "last" {
		limit = 1
	}
	runs, err := c.Runs(ctx, api.RunQuery{Limit: limit})
	if err != nil {
		return "", err
	}
	if arg == "last" {
		arg = ""
	}
	var found []string
	for _, r := range runs {
		if r.UUID == arg {
			return arg, nil
		}
		if begins(r.UUID, arg) {
			found = append(found, r.UUID)
		}
	}
	return single(found, "run", arg, "loads runs")
}

// findPlan returns the uuid of the plan that arg means: a uuid, the beginning
// of one, or a name.
func findPlan(ctx context.Context, c *api.Client, arg string) (string, error) {
	if isUUID(arg) {
		return arg, nil
	}
	plans, err := c.Plans(ctx, "")
	if err != nil {
		return "", err
	}
	var found, named []string
	for _, p := range plans {
		if begins(p.UUID, arg) {
			found = append(found, p.UUID)
		}
		if p.Name == arg {
			named = append(named, p.UUID)
		}
	}
	if len(named) > 0 {
		found = named
	}
	return single(found, "plan", arg, "loads plans")
}

// findProject returns the uuid of the project that arg means: a uuid, the
// beginning of one, or a name. Empty stays empty.
func findProject(ctx context.Context, c *api.Client, arg string) (string, error) {
	if arg == "" || isUUID(arg) {
		return arg, nil
	}
	projects, err := c.Projects(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, p := range projects {
		if p.Name == arg || begins(p.UUID, arg) {
			found = append(found, p.UUID)
		}
	}
	return single(found, "project", arg, "loads plans")
}

func single(found []string, what, arg, list string) (string, error) {
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", broker.Errorf(broker.EInvalid, "%q means %s; give more of the uuid of the one you want, which %s shows.", arg, countOf(len(found), what), list)
	case arg == "":
		return "", broker.Errorf(broker.ENotFound, "There is no %s yet.", what)
	}
	return "", broker.Errorf(broker.ENotFound, "There is no %s %q; %s shows what there is.", what, arg, list)
}

// completeRuns offers the newest runs for the first argument.
func (p *program) completeRuns(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.complete(cmd, args, func(ctx context.Context, c *api.Client) ([]string, error) {
		runs, err := c.Runs(ctx, api.RunQuery{Limit: 50})
		offers := []string{"last\tthe newest run"}
		for _, r := range runs {
			offers = append(offers, fmt.Sprintf("%s\t%s, %s", r.UUID, r.PlanName, outcome(r)))
		}
		return offers, err
	})
}

// completePlans offers the plans for the first argument.
func (p *program) completePlans(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.complete(cmd, args, func(ctx context.Context, c *api.Client) ([]string, error) {
		plans, err := c.Plans(ctx, "")
		var offers []string
		for _, plan := range plans {
			offers = append(offers, fmt.Sprintf("%s\t%s", plan.UUID, plan.Name))
		}
		return offers, err
	})
}

func (p *program) complete(cmd *cobra.Command, args []string, offers func(context.Context, *api.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), probeTimeout)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := offers(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// outcome is the verdict of a run, or its state while there is none.
func outcome(r api.Run) string {
	if r.Verdict != "" {
		return string(r.Verdict)
	}
	return cmp.Or(r.StateName, r.State.String())
}
