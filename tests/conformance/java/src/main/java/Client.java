import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.extension.trace.jaeger.sampler.JaegerRemoteSampler;
import io.opentelemetry.sdk.trace.IdGenerator;
import io.opentelemetry.sdk.trace.samplers.Sampler;
import io.opentelemetry.sdk.trace.samplers.SamplingDecision;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * OpenTelemetry's Java sampler, as an application would set it up. See ../../../../README.md for what is said over
 * stdin and stdout.
 */
public final class Client {
  // Not faster: the sampler does not wait for an answer before it asks again, and the sixth question at a time is
  // rejected by its own pool of five threads, which a JVM that is still loading classes reaches.
  private static final Duration POLL = Duration.ofSeconds(1);
  private static final int DRAWS = 10_000;
  private static final IdGenerator IDS = IdGenerator.random();

  public static void main(String[] arguments) throws IOException {
    Complaints complaints = new Complaints();
    Logger.getLogger("").addHandler(complaints);
    JaegerRemoteSampler sampler =
        JaegerRemoteSampler.builder()
            .setEndpoint("http://" + arguments[0])
            .setServiceName(arguments[1])
            .setPollingInterval(POLL)
            .setInitialSampler(Sampler.alwaysOn())
            .build();
    List<String> operations = List.of(arguments).subList(2, arguments.length);

    BufferedReader rounds = new BufferedReader(new InputStreamReader(System.in));
    while (rounds.readLine() != null) {
      int[] sampled = operations.stream().mapToInt(operation -> sampledOf(sampler, operation)).toArray();
      System.out.printf(
          "{\"of\":%d,\"sampled\":%s,\"errors\":%d}%n", DRAWS, Arrays.toString(sampled), complaints.count());
      System.out.flush();
    }
    System.exit(0); // the HTTP client's threads would linger
  }

  private static int sampledOf(Sampler sampler, String operation) {
    int sampled = 0;
    for (int draw = 0; draw < DRAWS; draw++) {
      SamplingDecision decision =
          sampler
              .shouldSample(
                  Context.root(), IDS.generateTraceId(), operation, SpanKind.SERVER, Attributes.empty(), List.of())
              .getDecision();
      sampled += decision == SamplingDecision.RECORD_AND_SAMPLE ? 1 : 0;
    }
    return sampled;
  }

  /** Counts the warnings that the SDK logs; the root logger's own handler prints them. */
  private static final class Complaints extends Handler {
    private final AtomicInteger count = new AtomicInteger();

    int count() {
      return count.get();
    }

    @Override
    public void publish(LogRecord complaint) {
      if (complaint.getLevel().intValue() >= Level.WARNING.intValue()) {
        count.incrementAndGet();
      }
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
