# Runs in Godot 3: load the imported scene, play an animation, write the origins of all bones, then of all nodes.
# Arguments after "--": animation, comma-separated seconds, file to write.
extends SceneTree

func _init():
	var arguments = OS.get_cmdline_args()
	var at = arguments.size() - 3
	var scene = load("res://rig.glb").instance()
	get_root().add_child(scene)
	var players = []
	var skeletons = []
	var nodes = []
	_collect(scene, players, skeletons, nodes)
	var out = {"animations": [], "names": [], "joints": []}
	for player in players:
		out["animations"] += Array(player.get_animation_list())
	for skeleton in skeletons:
		for bone in range(skeleton.get_bone_count()):
			out["names"].append(skeleton.get_bone_name(bone))
	for node in nodes:
		out["names"].append(node.name)
	for second in arguments[at + 1].split(","):
		for player in players:
			if player.has_animation(arguments[at]):
				player.current_animation = arguments[at]
				player.seek(float(second), true)
		var frame = []
		for skeleton in skeletons:
			var place = _world(skeleton)
			for bone in range(skeleton.get_bone_count()):
				frame.append(_numbers(place * skeleton.get_bone_global_pose(bone)))
		for node in nodes:
			frame.append(_numbers(_world(node)))
		out["joints"].append(frame)
	var file = File.new()
	file.open(arguments[at + 2], File.WRITE)
	file.store_string(to_json(out))
	file.close()
	quit()

func _collect(node, players, skeletons, nodes):
	if node is AnimationPlayer:
		players.append(node)
	if node is Skeleton:
		skeletons.append(node)
	if node is Spatial:
		nodes.append(node)
	for child in node.get_children():
		_collect(child, players, skeletons, nodes)

func _numbers(place):
	return [place.origin.x, place.origin.y, place.origin.z]

# Not global_transform: the tree is not entered before the first frame, so it is not up to date.
func _world(node):
	var place = Transform()
	while node is Spatial:
		place = node.transform * place
		node = node.get_parent()
	return place
