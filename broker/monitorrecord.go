package broker

import (
	"context"
	"fmt"
)

// A Monitor is the InfluxDB and the Grafana that a run has to itself, on the
// machine of its monitor step.
type Monitor struct {
	// User and Secret sign in to both; the Secret is InfluxDB 2's token as well.
	// It is empty once the run is completed, and so is Key.
	User   string `db:"user"`
	Secret string `db:"secret"`
	// Cert is the certificate by which both are known, and Key its key; PEM.
	Cert string `db:"cert"`
	Key  string `db:"key"`
	// InfluxURL and GrafanaURL are where people and the broker find them; empty
	// as long as they don't answer, or when there is none.
	InfluxURL  string `db:"influx_url"`
	GrafanaURL string `db:"grafana_url"`
	// SourceURL is where that Grafana finds InfluxDB.
	SourceURL string `db:"source_url"`
	// DashboardURL is the run's dashboard in that Grafana; empty before it is
	// published.
	DashboardURL string `db:"dashboard_url"`
}

// An Archive is a run's file in a store that outlives the broker.
type Archive struct {
	RunUUID string `db:"run_uuid" json:"-"`
	URL     string `db:"url" json:"url"` // s3://bucket/key
	// Upload is the store's name of the upload under way; empty when there is
	// none.
	Upload string `db:"upload" json:"-"`
	Size   int64  `db:"size" json:"bytes,omitempty"`
	SHA256 string `db:"sha256" json:"sha256,omitempty"` // of the file, in hexadecimal digits
	// Checksum is the store's own: of S3, SHA-256 of the parts' SHA-256, in
	// base64, with the number of parts.
	Checksum string `db:"checksum" json:"checksum,omitempty"`
	// Trouble says why it could not be stored the last time.
	Trouble string `db:"trouble" json:"trouble,omitempty"`
	Done    bool   `db:"done" json:"done"`
}

// String says in a few words how far the archive is.
func (a Archive) String() string {
	switch {
	case a.Done:
		return fmt.Sprintf("%s, %d bytes, SHA-256 %s", a.URL, a.Size, a.SHA256)
	case a.Trouble != "":
		return fmt.Sprintf("%s, not yet: %s", a.URL, a.Trouble)
	}
	return a.URL + ", not yet"
}

// MonitorStore keeps what runs have of their own elsewhere.
type MonitorStore interface {
	// Monitor returns the run's monitor; ENotFound when it has none.
	Monitor(ctx context.Context, runUUID string) (Monitor, error)
	// SaveMonitor stores it. As long as its metrics are not all written, which
	// EndMonitor says, the run's frames are not condensed.
	SaveMonitor(ctx context.Context, run *Run, m Monitor) error
	// EndMonitor says that nothing more is written to the run's monitor.
	EndMonitor(ctx context.Context, run *Run) error

	// Archives returns those that are not done, the oldest first.
	Archives(ctx context.Context) ([]Archive, error)
	// Archive returns that of a run; ENotFound when there is none.
	Archive(ctx context.Context, runUUID string) (Archive, error)
	// SaveArchive stores it, with events of the run. The run may have been
	// deleted; then there must be no events.
	SaveArchive(ctx context.Context, run *Run, a Archive, events ...Event) error
	// DeleteArchive forgets it.
	DeleteArchive(ctx context.Context, runUUID string) error
}
