// OpenTelemetry's Go sampler, as an application would set it up. See ../README.md for what is said over stdin and
// stdout.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/contrib/samplers/jaegerremote"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

const (
	poll  = 100 * time.Millisecond
	draws = 10_000
)

type round struct {
	Of      int   `json:"of"`
	Sampled []int `json:"sampled"`
	Errors  int64 `json:"errors"`
}

func main() {
	endpoint, service, operations := os.Args[1], os.Args[2], os.Args[3:]
	var errors atomic.Int64
	logger := funcr.New(func(prefix, args string) {
		errors.Add(1)
		fmt.Fprintln(os.Stderr, prefix, args)
	}, funcr.Options{})
	sampler := jaegerremote.New(
		service,
		jaegerremote.WithSamplingServerURL("http://"+endpoint+"/sampling"),
		jaegerremote.WithSamplingRefreshInterval(poll),
		jaegerremote.WithInitialSampler(trace.AlwaysSample()),
		jaegerremote.WithLogger(logger),
	)
	defer sampler.Close()

	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		sampled := make([]int, len(operations))
		for i, operation := range operations {
			sampled[i] = sampledOf(sampler, operation)
		}
		if err := out.Encode(round{Of: draws, Sampled: sampled, Errors: errors.Load()}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func sampledOf(sampler trace.Sampler, operation string) int {
	sampled := 0
	for range draws {
		result := sampler.ShouldSample(trace.SamplingParameters{
			ParentContext: context.Background(),
			TraceID:       randomTraceID(),
			Name:          operation,
			Kind:          oteltrace.SpanKindServer,
		})
		if result.Decision == trace.RecordAndSample {
			sampled++
		}
	}
	return sampled
}

func randomTraceID() (id oteltrace.TraceID) {
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return id
}
