"""Quantised operators of an ONNX graph → the floating ones that they stand for, their weights through DequantizeLinear.

Of the standard's and ONNX Runtime's operators: QLinearConv, QLinearMatMul, QGemm, QLinearAdd, MatMulInteger and
ConvInteger with the scale that is multiplied after them, MatMulIntegerToFloat, DynamicQuantizeMatMul, MatMulNBits, and
Gather before DequantizeLinear.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from peace_pipeline.weights.formats.onnx_model import Graph, Node

BLOCKS = "DequantizeBlocks"
"""An operator of ours: the weight (N, K) of MatMulNBits from its codes, scales and zero points."""


def in_floats(graph: Graph) -> Graph:
    """The graph, and those within, with floating operators in place of quantised ones; itself where there are none."""
    rewriting = _Rewriting(graph)
    nodes = [new for node in graph.nodes for new in rewriting.rewritten(node)]
    nodes = [node for node in nodes if id(node) not in rewriting.dropped]
    if not rewriting.has_changed and nodes == graph.nodes:
        return graph
    return replace(graph, nodes=nodes)


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers: defaultdict[str, list[Node]] = defaultdict(list)
        self._writer: dict[str, Node] = {}
        for node in graph.nodes:
            self._writer.update(dict.fromkeys(node.outputs, node))
            for name in node.inputs:
                self._readers[name].append(node)
        self._later: dict[int, list[Node]] = {}
        """Nodes in place of one that comes later, by its id."""
        self.dropped: set[int] = set()
        """Ids of nodes that only multiply scales."""
        self._count = 0
        self.has_changed = False

    def rewritten(self, node: Node) -> Iterable[Node]:
        """The nodes that stand for one."""
        if id(node) in self._later:
            return self._later.pop(id(node))
        rewrite = _REWRITES.get(node.op)
        new = list(rewrite(self, node)) if rewrite and node.outputs else []
        if new:
            self.has_changed = True
            return new
        inner = {key: in_floats(value) for key, value in node.attributes.items() if isinstance(value, Graph)}
        if any(value is not node.attributes[key] for key, value in inner.items()):
            self.has_changed = True
            return [replace(node, attributes=node.attributes | inner)]
        return [node]

    def _constant(self, name: str) -> bool:
        return name in self._graph.tensors

    def _dequantised(self, codes: str, *parts: str, axis: int) -> Node:
        """A node that makes floats of constant ``codes``, whose parts are scales, zero points and further scales."""
        self._count += 1
        return Node(
            "DequantizeLinear",
            inputs=[codes, *parts],
            outputs=[f"{codes}:{self._count}"],
            attributes={"axis": axis},
        )

    def linear_conv(self, node: Node) -> Iterator[Node]:
        """QLinearConv: x, its scale and zero point, w, its, y's, and a bias in units of both scales."""
        x, x_scale, _, w, scale, zero, _, _, bias = _padded(node, 9)
        if self._constant(w):
            weight = self._dequantised(w, scale, zero, axis=0)
            yield weight
            inputs = [x, weight.outputs[0]]
            if self._constant(bias):
                own = self._dequantised(bias, scale, "", x_scale, axis=0)
                yield own
                inputs.append(own.outputs[0])
            yield replace(node, op="Conv", inputs=inputs)

    def linear_product(self, node: Node) -> Iterator[Node]:
        """QLinearMatMul: a, its scale and zero point, b, its, y's; QGemm: a bias comes before y's."""
        a, a_scale, _, b, scale, zero, bias = _padded(node, 7)
        is_gemm = node.op == "QGemm"
        if self._constant(b):
            weight = self._dequantised(b, scale, zero, axis=0 if node.attribute("transB", 0) else 1)
            yield weight
            inputs = [a, weight.outputs[0]]
            if is_gemm and self._constant(bias):
                own = self._dequantised(bias, scale, "", a_scale, axis=0)
                yield own
                inputs.append(own.outputs[0])
            yield replace(node, op="Gemm" if is_gemm else "MatMul", inputs=inputs)

    def linear_sum(self, node: Node) -> Iterator[Node]:
        """QLinearAdd: a, its scale and zero point, b, its, the output's; one of them may be a constant bias."""
        a, a_scale, a_zero, b, b_scale, b_zero = _padded(node, 6)
        if self._constant(b):
            bias = self._dequantised(b, b_scale, b_zero, axis=0)
            yield bias
            yield replace(node, op="Add", inputs=[a, bias.outputs[0]])
        elif self._constant(a):
            bias = self._dequantised(a, a_scale, a_zero, axis=0)
            yield bias
            yield replace(node, op="Add", inputs=[bias.outputs[0], b])

    def integer_product(self, node: Node) -> Iterator[Node]:
        """MatMulInteger and ConvInteger: what they give is cast, and multiplied by both scales."""
        x, w, _, zero = _padded(node, 4)
        is_conv = node.op == "ConvInteger"
        last, scale = self._scaling(node.outputs[0])
        if self._constant(w) and last is not None:
            weight = self._dequantised(w, scale, zero, axis=0 if is_conv else 1)
            yield weight
            product = replace(
                node, op="Conv" if is_conv else "MatMul", inputs=[x, weight.outputs[0]], outputs=last.outputs
            )
            self._later[id(last)] = [product]

    def _scaling(self, output: str) -> tuple[Node | None, str]:
        """The product with scales that follows an integer output, and the constant scale in it."""
        casts = [node for node in self._readers[output] if node.op == "Cast" and node.outputs]
        for product in self._readers[casts[0].outputs[0]] if casts else ():
            for factor in product.inputs if product.op == "Mul" and product.outputs else ():
                before = self._writer.get(factor)
                names = [factor, *(before.inputs if before is not None and before.op == "Mul" else ())]
                constants = list(filter(self._constant, names))
                if len(constants) == 1:
                    scale = constants[0]
                    if before is not None and scale in before.inputs and len(self._readers[factor]) == 1:
                        self.dropped.add(id(before))
                    return product, scale
        return None, ""

    def product_to_float(self, node: Node) -> Iterator[Node]:
        """MatMulIntegerToFloat and DynamicQuantizeMatMul."""
        if node.op == "MatMulIntegerToFloat":
            a, b, _, scale, _, zero, bias = _padded(node, 7)
        else:
            a, b, scale, zero, bias = _padded(node, 5)
        if self._constant(b):
            weight = self._dequantised(b, scale, zero, axis=1)
            yield weight
            yield from self._biased(replace(node, op="MatMul", inputs=[a, weight.outputs[0]]), bias)

    def blocks(self, node: Node) -> Iterator[Node]:
        """MatMulNBits: a, codes, scales, zero points, order of groups, bias."""
        a, codes, scale, zero, order, bias = _padded(node, 6)
        is_constant = all(map(self._constant, filter(None, (codes, scale, zero))))
        if is_constant and codes and scale and not order:
            self._count += 1
            weight = Node(
                BLOCKS,
                inputs=[codes, scale, zero],
                outputs=[f"{codes}:{self._count}"],
                attributes=node.attributes,
            )
            yield weight
            product = replace(node, op="Gemm", inputs=[a, weight.outputs[0]], attributes={"transB": 1})
            yield from self._biased(product, bias)

    def _biased(self, product: Node, bias: str) -> Iterator[Node]:
        if not bias:
            yield product
            return
        output = product.outputs[0]
        yield replace(product, outputs=[f"{output}:product"])
        yield Node("Add", inputs=[f"{output}:product", bias], outputs=[output])

    def gather(self, node: Node) -> Iterator[Node]:
        """Gather whose rows are dequantised after."""
        table, index = _padded(node, 2)
        after = next((each for each in self._readers[node.outputs[0]] if each.op == "DequantizeLinear"), None)
        if self._constant(table) and after is not None and after.outputs:
            _, scale, zero = _padded(after, 3)
            weight = self._dequantised(table, scale, zero, axis=0)
            yield weight
            self._later[id(after)] = [replace(node, inputs=[weight.outputs[0], index], outputs=after.outputs)]


_REWRITES: dict[str, Callable[[_Rewriting, Node], Iterator[Node]]] = {
    "QLinearConv": _Rewriting.linear_conv,
    "QLinearMatMul": _Rewriting.linear_product,
    "QGemm": _Rewriting.linear_product,
    "QLinearAdd": _Rewriting.linear_sum,
    "MatMulInteger": _Rewriting.integer_product,
    "ConvInteger": _Rewriting.integer_product,
    "MatMulIntegerToFloat": _Rewriting.product_to_float,
    "DynamicQuantizeMatMul": _Rewriting.product_to_float,
    "MatMulNBits": _Rewriting.blocks,
    "Gather": _Rewriting.gather,
}


def _padded(node: Node, count: int) -> list[str]:
    """So many inputs; empty names for those that it hasn't."""
    return [*node.inputs, *[""] * count][:count]
