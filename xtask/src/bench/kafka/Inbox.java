import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Instant;
import java.util.Properties;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * What a Java team runs when it wants each event's effect exactly once: Kafka Streams with `exactly_once_v2`, and a
 * changelogged store of the ids that it has seen. It makes of each event what the handler `stateless` makes of it, without
 * a sandbox.
 *
 * Arguments: bootstrap servers, application id, input topic, output topic.
 */
public class Inbox implements Processor<byte[], byte[], byte[], byte[]> {
  private static final byte[] SEEN = {1};
  private static final int NOTE_CHARS_MAX = 550;

  /** What is read of an event's data. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  public static class Orders {
    public int attempts;
    public String note = "";
  }

  /** What is written. */
  public record Deed(String id, int attempt, String note) {}

  private final ObjectMapper json = new ObjectMapper();
  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<Bytes, byte[]> inbox;

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    this.inbox = context.getStateStore("inbox");
  }

  @Override
  public void process(Record<byte[], byte[]> event) {
    byte[] id = event.headers().lastHeader("ce_id").value();
    if (inbox.putIfAbsent(Bytes.wrap(id), SEEN) == null) {
      context.forward(transformed(event));
    }
  }

  private Record<byte[], byte[]> transformed(Record<byte[], byte[]> event) {
    try {
      String id = required(event.headers(), "ce_id");
      required(event.headers(), "ce_source");
      required(event.headers(), "ce_type");
      Orders orders = json.readValue(event.value(), Orders.class);
      if (orders.attempts > 0) {
        throw new IllegalArgumentException(id + " is to fail");
      }
      int chars = Math.min(NOTE_CHARS_MAX, orders.note.length());
      Deed deed = new Deed(id, 1, orders.note.substring(0, chars));
      Header correlation = event.headers().lastHeader("ce_correlationid");
      Headers headers = new RecordHeaders();
      headers.add("ce_specversion", bytes("1.0"));
      headers.add("ce_id", bytes(id + "-done"));
      headers.add("ce_source", bytes("/streams"));
      headers.add("ce_type", bytes("Done"));
      headers.add("ce_time", bytes(Instant.now().toString()));
      headers.add("content-type", bytes("application/json"));
      headers.add("ce_correlationid", correlation == null ? bytes(id) : correlation.value());
      headers.add("ce_causationid", bytes(id));
      byte[] data = json.writeValueAsBytes(deed);
      return new Record<>(event.key(), data, event.timestamp(), headers);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static String required(Headers headers, String name) {
    return new String(headers.lastHeader(name).value(), StandardCharsets.UTF_8);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("streams").toString());
    settings.put("auto.offset.reset", "earliest");

    var bytes = Serdes.ByteArray();
    Topology topology = new Topology();
    topology.addSource("events", bytes.deserializer(), bytes.deserializer(), arguments[2]);
    topology.addProcessor("inbox-of", Inbox::new, "events");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore("inbox"), Serdes.Bytes(), Serdes.ByteArray()),
        "inbox-of");
    topology.addSink("out", arguments[3], bytes.serializer(), bytes.serializer(), "inbox-of");

    KafkaStreams streams = new KafkaStreams(topology, settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
