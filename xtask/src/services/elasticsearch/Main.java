// One node of Elasticsearch over HTTP, whose users are one, or an API key.

import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BytesRestResponse;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.script.mustache.MustachePlugin;
import org.elasticsearch.transport.Netty4Plugin;

public class Main {
    static Set<String> accepted;

    /** The free node has no users; this asks for what its security would. */
    public static class Users extends Plugin implements ActionPlugin {
        @Override
        public UnaryOperator<RestHandler> getRestHandlerWrapper(ThreadContext context) {
            return handler -> (request, channel, client) -> {
                if (accepted.contains(String.valueOf(request.header("Authorization")))) {
                    handler.handleRequest(request, channel, client);
                } else {
                    channel.sendResponse(new BytesRestResponse(RestStatus.UNAUTHORIZED, "who are you?"));
                }
            };
        }
    }

    static class Single extends Node {
        Single(Environment environment) {
            super(environment, List.of(Netty4Plugin.class, MustachePlugin.class, Users.class), false);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String basic = Base64.getEncoder().encodeToString(arguments[2].getBytes());
        accepted = Set.of("Basic " + basic, "ApiKey " + arguments[3]);
        Settings settings = Settings.builder()
            .put("path.home", arguments[0])
            .put("http.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.host", "127.0.0.1")
            .put("transport.port", arguments[4])
            .put("discovery.type", "single-node")
            .put("node.name", "node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Node node = new Single(InternalSettingsPreparer.prepareEnvironment(
            settings, Map.of(), Path.of(arguments[0]), () -> "node"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception e) {
                System.err.println(e);
            }
        }));
        node.start();
        Thread.currentThread().join();
    }
}
