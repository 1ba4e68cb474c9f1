import java.nio.file.Files;
import java.util.Properties;
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
 * changelogged store of the ids that it has seen. Without a sandbox and without decoding the event.
 *
 * Arguments: bootstrap servers, application id, input topic, output topic.
 */
public class Inbox implements Processor<byte[], byte[], byte[], byte[]> {
  private static final byte[] SEEN = {1};
  private static final int OUT_BYTES = 600;

  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<Bytes, byte[]> inbox;
  private final byte[] out = new byte[OUT_BYTES];

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    this.inbox = context.getStateStore("inbox");
  }

  @Override
  public void process(Record<byte[], byte[]> event) {
    Bytes id = Bytes.wrap(event.headers().lastHeader("ce_id").value());
    if (inbox.putIfAbsent(id, SEEN) == null) {
      context.forward(event.withValue(out));
    }
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
