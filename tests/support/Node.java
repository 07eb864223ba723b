import org.codelibs.opensearch.runner.OpenSearchRunner;

/** As the runner's own program, with the role that runs ingest pipelines. */
class Node {
    public static void main(String[] arguments) throws InterruptedException {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
            // A node whose disk is nearly full refuses documents, and a lane would wait for it.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(arguments);
        Thread.currentThread().join();
    }
}
