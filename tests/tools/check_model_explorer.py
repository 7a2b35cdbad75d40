"""Checks files for Model Explorer by its own Python package, without a browser.

    pip install ai-edge-model-explorer
    reflux ir --config flux-dev --export json -o flux.json
    reflux ir --config flux-dev --export costs -o costs.json
    python tests/tools/check_model_explorer.py flux.json costs.json           # another graph and its node data may follow
    python tests/tools/check_model_explorer.py --show flux.json costs.json    # and shows them

Graphs and node data have to be what the package's dataclasses are, with no other fields; what its page relies on beside these is
checked too: ids that are there once, edges that come from nodes, namespaces that are no nodes, data for graphs and nodes that exist,
and graphs of several files that it does not rename.
"""

import json
import sys
from pathlib import Path

import dacite
import model_explorer
from model_explorer import graph_builder, node_data_builder

STRICT = dacite.Config(strict=True)


def graphs_of(name, content):
    """The graphs of a file, as the page reads it: a list of them is called after the file."""
    assert isinstance(content, list), f"{name} is no list of graphs, so that it would not be called after its file"
    graphs = [dacite.from_dict(graph_builder.Graph, graph, STRICT) for graph in content]
    assert graphs, f"{name} has no graphs"
    for graph in graphs:
        nodes = {node.id: node for node in graph.nodes}
        assert len(nodes) == len(graph.nodes), f"{graph.id} has nodes of one id"
        for node in graph.nodes:
            assert not node.namespace.startswith("/") and "//" not in node.namespace, (node.id, node.namespace)
            inputs = [edge.targetNodeInputId for edge in node.incomingEdges]
            assert len(set(inputs)) == len(inputs), f"{node.id} has two inputs of one id"
            for edge in node.incomingEdges:
                source = nodes.get(edge.sourceNodeId)
                assert source is not None, f"{node.id} reads {edge.sourceNodeId}, which is no node of {graph.id}"
                outputs = [output.id for output in source.outputsMetadata]
                assert edge.sourceNodeOutputId in outputs, f"{node.id} reads no output of {edge.sourceNodeId}"
    return graphs


def check_data(name, content, graphs):
    """Node data of a file. Of the values only numbers are in the dataclasses, but the page shows texts too, and counts them."""
    applied = 0
    for graph_id, data in content.items():
        for result in data["results"].values():
            if isinstance(result["value"], str):
                assert "bgColor" in result, f"{name}: a text has no colour of its own"
                result["value"] = 0
        data = dacite.from_dict(node_data_builder.GraphNodeData, data, STRICT)
        stops = [item.stop for item in data.gradient]
        assert not stops or (stops[0], stops[-1]) == (0, 1), f"{name}: the gradient is {stops}"
        graph = graphs.get(graph_id)
        assert graph is not None, f"{name} has data for {graph_id}, but there are {list(graphs)}"
        ids = {node.id for node in graph.nodes}
        unknown = [key for key in data.results if key not in ids]
        assert not unknown, f"{name} has data for {unknown[:3]}, which are no nodes of {graph_id}"
        applied += len(data.results)
    return applied


def main():
    arguments = sys.argv[1:]
    show = "--show" in arguments
    config, graphs, last = model_explorer.config(), {}, None
    for path in map(Path, (argument for argument in arguments if argument != "--show")):
        content = json.loads(path.read_text())
        if isinstance(content, list) or "graphs" in content:
            for graph in graphs_of(path.name, content):
                assert graph.id not in graphs, f"{path.name}: a graph of another file is called {graph.id} too"
                graphs[graph.id] = graph
                print(f"{path.name}: {graph.id}, {len(graph.nodes)} nodes")
            config.add_model_from_path(str(path))
            last = path.name
        else:
            print(f"{path.name}: data for {check_data(path.name, content, graphs)} nodes")
            config.add_node_data_from_path(str(path), last)
    print(f"http://localhost:8080/?data={config.to_url_param_value()}")
    if show:
        model_explorer.visualize_from_config(config)


if __name__ == "__main__":
    main()
