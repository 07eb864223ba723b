import org.codelibs.opensearch.runner.OpenSearchRunner;

/** As the runner's own program, with the role that runs ingest pipelines. */
class Node {
    public static void main(String[] arguments) throws InterruptedException {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> settings.putList("node.roles", "cluster_manager", "data", "ingest"));
        runner.build(arguments);
        Thread.currentThread().join();
    }
}
